#include "runtime/job.hpp"

#include "runtime/host.hpp"
#include "runtime/value_codec.hpp"

namespace Atoll {

void answer_job(host& owner, interpreter_id caller, call_id call, const result<std::vector<value>>& results,
                reference_codec& references) {
  error why;
  if (results) {
    wire_writer& w = owner.open_message(caller, record_kind::reply);
    w.put_u64(call);
    const result<void> written = encode_values(w, references, *results);
    if (written && owner.commit() <= send_status::crowded) return;
    owner.rollback();
    why = written ? error{errc::out_of_memory, "no memory for the answer", {}, {}, {}, {}} : written.error();
  } else {
    why = results.error();
  }
  why.interpreter = owner.id();
  why.interpreter_name = owner.name();
  wire_writer& w = owner.open_message(caller, record_kind::reply_error);
  w.put_u64(call);
  w.put_error(why);
  if (owner.commit() > send_status::crowded) owner.rollback();
}

} // namespace Atoll
