#include "channels/disposal.hpp"

#include <fmt/format.h>

#include "channels/channel_space.hpp"
#include "channels/outbox.hpp"

namespace Atoll {

namespace {
thread_local deferred_jobs* deferring = nullptr; // the outermost one on this thread
} // namespace

deferred_jobs::deferred_jobs() noexcept : outermost_(deferring == nullptr) {
  if (outermost_) deferring = this;
}

void deferred_jobs::abandon_all() noexcept {
  if (!std::exchange(outermost_, false)) return;
  deferring = nullptr;
  for (auto& [work, why] : jobs_) work->abandon(why);
}

void deferred_jobs::abandon(std::unique_ptr<job> work, const error& why) {
  if (deferring != nullptr) {
    try {
      error copy = why;
      deferring->jobs_.emplace_back(std::move(work), std::move(copy));
      return;
    } catch (const std::bad_alloc&) {
      // The job is still here. Whoever waits for it is told at once: better under a lock than never.
    }
  }
  work->abandon(why);
}

namespace {

/// Ends a record that asks for nothing back. False: the receiver is dead.
bool finish(outbox& out) {
  if (out.commit() <= send_status::crowded) return true;
  ignoring_visitor nothing;
  out.rollback(nothing);
  return false;
}

void send_decref(const object_id& id, std::uint32_t credit, outbox& out) {
  if (credit == 0) return;
  wire_writer& w = out.open(id.owner, record_kind::decref);
  w.put_u32(1);
  const decref_run one{id.owner, id.slot, id.generation, credit, 1};
  w.put_decrefs(&one, 1);
  finish(out);
}

/// Speaks for the dead receiver: answers its callers and returns what its messages carried.
class executor final : public record_visitor {
public:
  executor(interpreter_id dead, const epitaph& last_words, interpreter_id sender, directory& where)
      : dead_(dead), last_words_(last_words), sender_(sender), directory_(where), out_(dead_, where) {}

  void settle(record& r);

  void on_reference(const wire_ref& ref) override {
    if (ref.credit > 0) {
      send_decref(ref.id, ref.credit, out_);
    } else {
      return_loan(ref.lender, ref.id, 1, out_, directory_);
    }
  }
  void on_connection(std::uint64_t connection) override { directory_.close_connection(connection); }
  void on_channel(channel_number channel) override { directory_.channels()->drop_held(channel); }
  void on_buffer(const wire_slice& s) override { directory_.buffers()->give_back(s); }
  void on_call(call_id call) override {
    wire_writer& w = out_.open(sender_, record_kind::reply_error);
    w.put_u64(call);
    w.put_error(gone());
    finish(out_);
  }

private:
  error gone() const {
    std::string text = fmt::format("interpreter {} is gone", number_and_name(dead_, last_words_.name));
    if (!last_words_.failure.message.empty()) text += ": " + last_words_.failure.message;
    return {errc::interpreter_gone, std::move(text), {}, dead_, last_words_.name, {}};
  }

  const interpreter_id dead_;
  const epitaph& last_words_;
  interpreter_id sender_;
  directory& directory_;
  outbox out_;
};

void executor::settle(record& r) {
  wire_reader& in = r.body;
  switch (r.kind) {
  case record_kind::credit_request: {
    const object_id id = in.get_object_id();
    wire_writer& w = out_.open(sender_, record_kind::credit_grant);
    put_object_id(w, id);
    w.put_u32(0);
    finish(out_);
    break;
  }
  case record_kind::credit_grant: {
    const object_id id = in.get_object_id();
    send_decref(id, in.get_u32(), out_);
    break;
  }
  case record_kind::loan_return: {
    const object_id id = in.get_object_id();
    return_loan(dead_, id, in.get_u32(), out_, directory_);
    break;
  }
  case record_kind::monitor: {
    wire_writer& w = out_.open(sender_, record_kind::down);
    w.put_u64(in.get_u64());
    w.put_u64(number(dead_));
    w.put_text(last_words_.name);
    w.put_text(last_words_.reason);
    w.put_error(last_words_.failure.message.empty() ? gone() : last_words_.failure);
    finish(out_);
    break;
  }
  case record_kind::link: {
    wire_writer& w = out_.open(sender_, record_kind::link_down);
    w.put_u64(number(dead_));
    w.put_text(last_words_.name);
    w.put_text(last_words_.reason);
    w.put_error(last_words_.failure.message.empty() ? gone() : last_words_.failure);
    finish(out_);
    break;
  }
  case record_kind::job: {
    std::unique_ptr<job> left(reinterpret_cast<job*>(in.get_u64()));
    if (left == nullptr) break;
    deferred_jobs::abandon(std::move(left), gone());
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

} // namespace

void return_loan(interpreter_id lender, const object_id& id, std::uint32_t loans, outbox& out, directory& where) {
  wire_writer& w = out.open(lender, record_kind::loan_return);
  put_object_id(w, id);
  w.put_u32(loans);
  if (finish(out)) return;
  // The lender is gone, so its tombstones stand (directory::leave comes before the inbox closes).
  if (const auto stone = where.return_loan(lender, id, loans)) {
    send_decref(stone->id, stone->credit, out);
    for (const interpreter_id owed : stone->owed) return_loan(owed, id, 1, out, where);
  }
}

void deliver(inbox& to, envelope_ptr e, directory& where) {
  try {
    if (!to.push(std::move(e))) dispose_leftovers(to, where);
  } catch (const std::bad_alloc&) {
    // Not delivered: what it carries goes home while there is memory for that; the sender learns that there is none.
    if (e != nullptr) dispose(std::move(e), to.id(), where);
    throw;
  }
}

void dispose(envelope_ptr e, interpreter_id receiver, directory& where, const epitaph& last_words) {
  dispose_rest(e->reader(), e->from(), receiver, where, last_words);
}

void dispose_rest(wire_reader records, interpreter_id sender, interpreter_id receiver, directory& where,
                  const epitaph& last_words) {
  executor will(receiver, last_words, sender, where);
  while (!records.at_end()) {
    record r = next_record(records);
    will.settle(r);
  }
}

void dispose_values(wire_reader values, directory& where) {
  executor will(host_interpreter, {}, host_interpreter, where);
  walk_values(values, will);
}

void dispose_leftovers(inbox& closed, directory& where) {
  while (envelope_ptr e = closed.take_leftover()) dispose(std::move(e), closed.id(), where, closed.last_words());
}

} // namespace Atoll
