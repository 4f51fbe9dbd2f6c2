// What one sender has for others: an open envelope for each receiver, flushed at the end of its turn or when full.
// Why: the queue operation and the wake-up are paid once for many messages.
// Ownership: part of its sender (an interpreter's shell, the host's lock, a disposal on the stack).
// Threads: its sender only.
// Invariants: (1) between open() and commit() or rollback() no other record is opened.
//             (2) messages to one receiver keep their order. (3) nothing written is lost: what finds its receiver gone
//                 is disposed of (channels/disposal.hpp).
#pragma once

#include <memory>
#include <unordered_map>

#include "channels/directory.hpp"
#include "channels/on_demand.hpp"

namespace Atoll {

class outbox {
public:
  outbox(interpreter_id from, directory& where) : from_(from), directory_(where) {}
  ~outbox();

  wire_writer& open(interpreter_id to, record_kind kind);
  send_status commit();
  /// Takes the open record back. `visitor` is told of the references and calls in it, to put them back where they were.
  void rollback(record_visitor& visitor);

  /// Sends every open envelope.
  void flush();
  /// Forgets the receivers so far; nothing may wait to be sent. For who has just answered its start: most say no more.
  void forget() noexcept;
  /// A record is being written.
  bool is_open() const noexcept { return open_ != nullptr; }
  bool empty() const noexcept { return touched_ == nullptr; }

  std::uint64_t messages() const noexcept { return messages_; }
  /// The inbox of a receiver this outbox has sent to; null when it is gone.
  inbox_ptr receiver(interpreter_id to);

private:
  struct lane {
    lane(interpreter_id from, interpreter_id to_id, inbox_ptr to_box)
        : to(to_id), box(std::move(to_box)), writer(from) {}
    interpreter_id to;
    inbox_ptr box; // null: no such interpreter
    envelope_writer writer;
    bool touched = false;
    lane* next_touched = nullptr;
  };
  using lane_map = std::unordered_map<interpreter_id, std::unique_ptr<lane>>;
  lane& lane_to(interpreter_id to);
  std::unique_ptr<lane>& place_of(interpreter_id to);
  void forget_dead();
  void send(lane& l);

  interpreter_id from_;
  directory& directory_;
  static constexpr std::size_t lanes_min = 256;
  // The first receiver needs no map: most of those that are born answer their start and wait.
  std::unique_ptr<lane> first_;
  on_demand<lane_map> others_;
  std::size_t lanes_kept_ = lanes_min; // of others_; beyond it, those of the dead are thrown away
  lane* touched_ = nullptr;            // those with records to flush, in their order
  lane* last_touched_ = nullptr;
  lane* last_ = nullptr; // the lane used last: most senders talk to few
  lane* open_ = nullptr;
  std::size_t open_start_ = 0;
  std::uint64_t messages_ = 0;
};

} // namespace Atoll
