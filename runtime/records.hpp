// What an envelope carries: a sequence of records, each a kind, a length and a body.
// Why: one envelope takes a whole turn's worth of messages to one receiver; a record that fails to decode is skipped by
// its length without losing the next.
// Threads: plain bytes.
// Invariants: (1) records of one sender to one receiver are handled in the order written.
//             (2) whoever throws a record away unread pays for it first: credit goes home, callers get an answer
//                 (channels/disposal.hpp).
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "runtime/wire.hpp"

namespace Atoll {

enum class record_kind : std::uint8_t {
  // Guest messages. `values` reach to the record's end.
  send,        // text function, values
  call,        // u64 call, text function, values
  eval,        // u64 call, text code, values
  start,       // u64 call, u8 source kind, text source, text chunk name, values
  invoke,      // u64 call (0: one-way), u8 invoke_op, wire_ref target, text method, values
  reply,       // u64 call, values
  reply_error, // u64 call, error
  // The reference protocol (ARCHITECTURE.md, "A reference's life").
  decref,         // u32 n, then n times: u32 slot, u32 generation, u32 credit, u32 count (decref_run)
  credit_request, // object id
  credit_grant,   // object id, u32 credit
  loan_return,    // object id, u32 loans
  // Lifecycle.
  stop,      // u64 call (0: no answer wanted), u64 milliseconds (0: no limit; or usual_stop_limit)
  stats,     // u64 call
  monitor,   // u64 token
  demonitor, // u64 token
  down,      // u64 token, u64 interpreter, text name, text reason, error
  link,      // u64 number, the sender's own: the two are linked from now on
  unlink,    // u64 interpreter, u64 number: the link that one asked for is over
  link_down, // u64 interpreter, text name, text reason, error: it ended, who was linked to the receiver
  room,      // the receiver of the source's messages has room again
  job,       // u64: a pointer to an in-process job, owned by the record (runtime/job.hpp)
  // TCP: what the net broker (actors/net_broker.hpp) tells an interpreter,
  net_accepted, // u64 listener, u64 connection, text peer
  net_data,     // u64 connection, bytes to the record's end
  net_closed,   // u64 connection, text reason (empty: the peer closed in order)
  net_drained,  // u64 connection: what was written has gone out
  // and what it is told.
  net_listen,    // u64 listener, u64 socket
  net_unlisten,  // u64 listener (0: all)
  net_connected, // u64 connection, u64 socket
  net_adopt,     // u64 connection: the sender reads from it now
  net_write,     // u64 connection, u8 tell when it is out, bytes to the record's end
  net_close,     // u64 connection (0: all): close when everything written has gone out
  net_consumed,  // u64 connection, u64 bytes that the program has taken
};

/// Of a stop: five seconds, or none where the guest stops its children itself (guest::stops_children).
inline constexpr std::uint64_t usual_stop_limit = ~std::uint64_t{0};

enum class invoke_op : std::uint8_t { method, apply, get, set };
enum class source_kind : std::uint8_t { code, file };

inline constexpr std::size_t record_header_bytes = 5;

/// Writes a record's header with an open length; close_record() closes it. All of it is `limit` bytes at most.
inline std::size_t open_record(wire_writer& w, record_kind kind, std::size_t limit = record_bytes_max) noexcept {
  const std::size_t start = w.size();
  w.limit(limit);
  w.put_u8(static_cast<std::uint8_t>(kind));
  w.put_u32(0);
  return start;
}

inline void close_record(wire_writer& w, std::size_t start) noexcept {
  w.patch_u32(start + 1, static_cast<std::uint32_t>(w.size() - start - record_header_bytes));
}

/// One record, its body ready to be read.
struct record {
  record_kind kind{};
  wire_reader body;
};

/// Takes the next record off an envelope's reader; a bad length fails the reader and gives an empty body.
inline record next_record(wire_reader& envelope) noexcept {
  record r;
  r.kind = static_cast<record_kind>(envelope.get_u8());
  r.body = wire_reader(envelope.get_text());
  if (envelope.failed()) r.body.fail();
  return r;
}

inline void put_object_id(wire_writer& w, const object_id& id) noexcept {
  w.put_u64(number(id.owner));
  w.put_u32(id.slot);
  w.put_u32(id.generation);
}

/// Figures by name, as a table value; whole numbers become integers.
void put_figures(wire_writer& w, const std::vector<std::pair<std::string, double>>& figures);

/// What a walk over a record meets that somebody waits for.
class record_visitor : public wire_visitor {
public:
  virtual void on_call(call_id) {}

protected:
  ~record_visitor() = default;
};

/// For what holds nothing to put back.
class ignoring_visitor final : public record_visitor {};

/// Passes over a record of the guest's kinds, telling the visitor of calls, references (the target included),
/// connections and buffers. Also good for a record cut short by a rollback: what was written whole is told.
bool walk_record(record& r, record_visitor& visitor);

} // namespace Atoll
