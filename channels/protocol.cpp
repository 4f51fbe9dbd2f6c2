#include "channels/protocol.hpp"

#include <algorithm>
#include <new>

#include "channels/disposal.hpp"

namespace Atoll {

namespace {

using words = std::vector<protocol_message>;

void send_decrefs(words::iterator begin, words::iterator end, outbox& out) {
  const auto by_owner = [](const protocol_message& a, const protocol_message& b) { return a.to < b.to; };
  if (!std::is_sorted(begin, end, by_owner)) std::stable_sort(begin, end, by_owner);
  for (auto i = begin; i != end;) {
    const auto owner_end = std::find_if(i, end, [&](const protocol_message& w) { return w.to != i->to; });
    wire_writer& w = out.open(i->to, record_kind::decref);
    w.put_u32(static_cast<std::uint32_t>(owner_end - i));
    for (; i != owner_end; ++i) {
      w.put_u32(i->id.slot);
      w.put_u32(i->id.generation);
      w.put_u32(i->count);
    }
    commit_word(out);
  }
}

void send_request(const protocol_message& word, import_table& imports, outbox& out) {
  put_object_id(out.open(word.to, record_kind::credit_request), word.id);
  if (!commit_word(out)) imports.on_grant(word.id, 0); // the owner is gone: nobody else would answer
}

} // namespace

bool commit_word(outbox& out) {
  const send_status sent = out.commit();
  if (sent <= send_status::crowded) return true;
  ignoring_visitor nothing;
  out.rollback(nothing);
  if (sent == send_status::no_memory) throw std::bad_alloc();
  return false;
}

void send_protocol(import_table& imports, outbox& out, directory& where) {
  words taken;
  // An answer of send_request() may queue more.
  while (imports.queued() > 0) {
    taken.clear();
    taken.swap(imports.queue());
    const auto decrefs_end = std::stable_partition(
        taken.begin(), taken.end(), [](const protocol_message& w) { return w.what == protocol_message::kind::decref; });
    send_decrefs(taken.begin(), decrefs_end, out);
    for (auto i = decrefs_end; i != taken.end(); ++i) {
      if (i->what == protocol_message::kind::credit_request) {
        send_request(*i, imports, out);
      } else {
        return_loan(i->to, i->id, i->count, out, where);
      }
    }
  }
  taken.clear();
  if (imports.queue().capacity() < taken.capacity()) imports.queue().swap(taken); // keep the room
}

} // namespace Atoll
