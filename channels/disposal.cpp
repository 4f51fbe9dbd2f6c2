#include "channels/disposal.hpp"

#include <fmt/format.h>

#include "channels/outbox.hpp"
#include "runtime/job.hpp"

namespace Atoll {

namespace {

/// Speaks for the dead receiver: answers its callers and returns what its messages carried.
class executor final : public record_visitor {
 public:
  executor(interpreter_id dead, interpreter_id sender, directory& where)
      : dead_(dead), sender_(sender), directory_(where), out_(dead, where) {}

  void settle(record& r);

  void on_reference(const wire_ref& ref) override {
    if (ref.credit > 0) {
      decref(ref.id, ref.credit);
    } else {
      return_loan(ref.lender, ref.id, 1);
    }
  }
  void on_connection(std::uint64_t connection) override { directory_.close_connection(connection); }
  void on_call(call_id call) override {
    wire_writer& w = out_.open(sender_, record_kind::reply_error);
    w.put_u64(call);
    w.put_error({errc::interpreter_gone, fmt::format("interpreter {} is gone", number(dead_)), {}, dead_, {}, {}});
    finish();
  }

 private:
  void decref(const object_id& id, std::uint32_t credit) {
    if (id.owner == dead_ || credit == 0) return;
    wire_writer& w = out_.open(id.owner, record_kind::decref);
    w.put_u32(1);
    w.put_u32(id.slot);
    w.put_u32(id.generation);
    w.put_u32(credit);
    finish();
  }
  void return_loan(interpreter_id lender, const object_id& id, std::uint32_t loans);
  void finish() {
    if (out_.commit() > send_status::crowded) {
      ignoring_visitor nothing;  // what an executor writes carries no credit of its own but a decref's, void without owner
      out_.rollback(nothing);
    }
  }

  interpreter_id dead_;
  interpreter_id sender_;
  directory& directory_;
  outbox out_;
};

void executor::return_loan(interpreter_id lender, const object_id& id, std::uint32_t loans) {
  if (lender != dead_ && directory_.find(lender) != nullptr) {
    wire_writer& w = out_.open(lender, record_kind::loan_return);
    put_object_id(w, id);
    w.put_u32(loans);
    finish();
    return;
  }
  if (const auto stone = directory_.return_loan(lender, id, loans)) {
    decref(stone->id, stone->credit);
    for (interpreter_id owed : stone->owed) return_loan(owed, id, 1);
  }
}

void executor::settle(record& r) {
  wire_reader& in = r.body;
  switch (r.kind) {
    case record_kind::credit_request: {
      const object_id id = in.get_object_id();
      wire_writer& w = out_.open(sender_, record_kind::credit_grant);
      put_object_id(w, id);
      w.put_u32(0);
      finish();
      break;
    }
    case record_kind::credit_grant: {
      const object_id id = in.get_object_id();
      decref(id, in.get_u32());
      break;
    }
    case record_kind::loan_return: {
      const object_id id = in.get_object_id();
      return_loan(dead_, id, in.get_u32());
      break;
    }
    case record_kind::monitor: {
      wire_writer& w = out_.open(sender_, record_kind::down);
      w.put_u64(in.get_u64());
      w.put_u64(number(dead_));
      w.put_text("");
      w.put_text("gone");
      w.put_error({errc::interpreter_gone, fmt::format("interpreter {} is gone", number(dead_)), {}, dead_, {}, {}});
      finish();
      break;
    }
    case record_kind::job: {
      const std::unique_ptr<job> left(reinterpret_cast<job*>(in.get_u64()));
      if (left) left->abandon({errc::interpreter_gone, fmt::format("interpreter {} is gone", number(dead_)), {}, dead_, {}, {}});
      break;
    }
    case record_kind::send:
    case record_kind::call:
    case record_kind::eval:
    case record_kind::invoke:
    case record_kind::reply: directory_.count_dead_letter(); [[fallthrough]];
    default: walk_record(r, *this); break;
  }
}

}  // namespace

void deliver(inbox& to, envelope_ptr e, directory& where) {
  if (!to.push(std::move(e))) dispose_leftovers(to, where);
}

void dispose(envelope_ptr e, interpreter_id receiver, directory& where) {
  executor will(receiver, e->from(), where);
  wire_reader in = e->reader();
  while (!in.at_end()) {
    record r = next_record(in);
    will.settle(r);
  }
}

void dispose_leftovers(inbox& closed, directory& where) {
  while (envelope_ptr e = closed.take_leftover()) dispose(std::move(e), closed.id(), where);
}

}  // namespace Atoll
