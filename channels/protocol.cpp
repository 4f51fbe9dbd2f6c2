#include "channels/protocol.hpp"

#include <algorithm>
#include <new>

#include "channels/disposal.hpp"

namespace Atoll {

namespace {

// A holder that drops millions of objects in any order says so in several records.
constexpr std::ptrdiff_t record_runs_max = 4096;

using runs = std::vector<decref_run>;

/// One record for each owner. Runs that lie beside one another after sorting become one.
void send_decrefs(runs& all, outbox& out) {
  const auto by_owner = [](const decref_run& a, const decref_run& b) { return a.owner < b.owner; };
  if (!std::is_sorted(all.begin(), all.end(), by_owner)) {
    std::stable_sort(all.begin(), all.end(), by_owner);
    auto last = all.begin();
    for (auto i = last + 1; i != all.end(); ++i)
      if (i->count > 1 || !last->extend({i->owner, i->slot, i->generation}, i->credit)) *++last = *i;
    all.erase(last + 1, all.end());
  }
  for (auto i = all.begin(); i != all.end();) {
    auto end = std::find_if(i, all.end(), [&](const decref_run& r) { return r.owner != i->owner; });
    if (end - i > record_runs_max) end = i + record_runs_max;
    wire_writer& w = out.open(i->owner, record_kind::decref);
    w.put_u32(static_cast<std::uint32_t>(end - i));
    w.put_decrefs(&*i, static_cast<std::size_t>(end - i));
    commit_word(out);
    i = end;
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
  protocol_queue taken;
  // An answer of send_request() may queue more.
  while (imports.queued() > 0) {
    taken.clear();
    std::swap(taken, imports.queue());
    send_decrefs(taken.decrefs, out);
    for (const protocol_message& word : taken.others) {
      if (word.what == protocol_message::kind::credit_request) {
        send_request(word, imports, out);
      } else {
        return_loan(word.to, word.id, word.count, out, where);
      }
    }
  }
  taken.clear();
  imports.queue().keep_room(taken);
}

} // namespace Atoll
