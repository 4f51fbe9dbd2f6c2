#include "actors/net_broker.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>

#include "actors/shell/sockets.hpp"
#include "channels/disposal.hpp"

namespace Atoll {

namespace {

using wake_atom = caf::atom_constant<caf::atom("atollwake")>;
using flush_atom = caf::atom_constant<caf::atom("atollflush")>;
using linger_atom = caf::atom_constant<caf::atom("atollinger")>;
using told_atom = caf::atom_constant<caf::atom("atolltold")>;
// CAF clears a buffer of this size before each read, so it is kept small.
constexpr std::size_t read_at_most = 16U << 10U;
// Bytes handed to an interpreter and not consumed, above which its connection is not read from.
constexpr std::size_t unconsumed_max = 1U << 20U;
// How long a connection closed here waits for its peer to close, too.
constexpr std::chrono::seconds linger_at_most{2};

} // namespace

net_broker::net_broker(caf::actor_config& cfg, environment& env, inbox_ptr box, std::atomic<std::size_t>& in_use)
    : caf::io::broker(cfg), env_(env), box_(std::move(box)), outbox_(net_interpreter, env.where()), in_use_(in_use) {
  box_->set_waker(*this);
}

void net_broker::schedule() noexcept {
  if (!born_.forked()) caf::anon_send(caf::actor_cast<caf::actor>(this), wake_atom::value);
}

caf::behavior net_broker::make_behavior() {
  return {
      [this](wake_atom) { take_envelopes(); },
      [this](flush_atom) {
        flush_posted_ = false;
        const gate::visit inside = go_inside();
        outbox_.flush();
      },
      [this](linger_atom, std::uint64_t number) { forget(number); },
      [this](told_atom) { in_use_.fetch_sub(1, std::memory_order_release); }, // what was told is seen by who sees this
      [this](const caf::io::new_connection_msg& m) {
        const gate::visit inside = go_inside();
        on_connection(m.source, m.handle);
      },
      [this](const caf::io::new_data_msg& m) {
        const gate::visit inside = go_inside();
        on_data(m);
      },
      [this](const caf::io::connection_closed_msg& m) {
        const gate::visit inside = go_inside();
        on_closed(m.handle);
      },
      [this](const caf::io::data_transferred_msg& m) {
        const gate::visit inside = go_inside();
        on_transferred(m);
      },
      [](const caf::io::acceptor_closed_msg&) {},
      [](const caf::io::connection_passivated_msg&) {},
      [](const caf::io::acceptor_passivated_msg&) {},
  };
}

void net_broker::take_envelopes() {
  box_->turn().begin();
  do {
    while (const envelope_ptr e = box_->take()) {
      wire_reader in = e->reader();
      while (!in.at_end()) {
        record r = next_record(in);
        handle(r, e->from());
      }
      for (const interpreter_id waiting : box_->handled(e->count())) {
        outbox_.open(waiting, record_kind::room);
        commit();
      }
    }
    outbox_.flush();
  } while (!box_->turn().end());
}

void net_broker::handle(record& r, interpreter_id from) {
  wire_reader& in = r.body;
  switch (r.kind) {
  case record_kind::net_write: write(in); break;
  case record_kind::net_consumed: {
    const std::uint64_t number = in.get_u64();
    consumed(number, in.get_u64());
    break;
  }
  case record_kind::net_adopt: adopt(in.get_u64(), from); break;
  case record_kind::net_close: close(in.get_u64()); break;
  case record_kind::net_listen: {
    const std::uint64_t listener = in.get_u64();
    listen(listener, static_cast<int>(in.get_u64()), from);
    break;
  }
  case record_kind::net_unlisten: unlisten(in.get_u64()); break;
  case record_kind::net_connected: {
    const std::uint64_t number = in.get_u64();
    connection& c = connections_[number];
    c.handle = add_scribe(static_cast<caf::io::network::native_socket>(in.get_u64()));
    c.owner = from;
    numbers_[c.handle.id()] = number;
    in_use_.fetch_add(1, std::memory_order_relaxed);
    break;
  }
  case record_kind::room: room(from); break;
  default: {
    ignoring_visitor nothing;
    walk_record(r, nothing);
    break;
  }
  }
}

void net_broker::listen(std::uint64_t listener, int descriptor, interpreter_id owner) {
  if (closed_for_good_) return close_socket(descriptor);
  listeners_[listener] = {add_doorman(descriptor), owner};
  in_use_.fetch_add(1, std::memory_order_relaxed);
}

void net_broker::unlisten(std::uint64_t listener) {
  if (listener == 0) return unlisten_all();
  const auto it = listeners_.find(listener);
  if (it == listeners_.end()) return;
  caf::io::broker::close(it->second.handle);
  listeners_.erase(it);
  in_use_.fetch_sub(1, std::memory_order_relaxed);
}

void net_broker::unlisten_all() {
  closed_for_good_ = true;
  for (const auto& [number, state] : listeners_) caf::io::broker::close(state.handle);
  in_use_.fetch_sub(listeners_.size(), std::memory_order_relaxed);
  listeners_.clear();
  // Nothing more is read: what was asked for is answered, nothing new is begun.
  for (auto& [number, c] : connections_)
    if (!c.closing) halt(c.handle);
}

void net_broker::write(wire_reader& in) {
  const auto it = connections_.find(in.get_u64());
  const bool tell_drained = in.get_u8() != 0;
  if (it == connections_.end() || it->second.closing) return;
  connection& c = it->second;
  const std::string_view bytes = in.get_bytes(in.left());
  caf::io::broker::write(c.handle, bytes.size(), bytes.data());
  if (tell_drained && !c.tell_drained) {
    c.tell_drained = true;
    ack_writes(c.handle, true);
  }
  caf::io::broker::flush(c.handle);
}

void net_broker::adopt(std::uint64_t number, interpreter_id owner) {
  const auto it = connections_.find(number);
  if (it == connections_.end()) return tell(owner, record_kind::net_closed, number);
  connection& c = it->second;
  c.owner = owner;
  if (c.adopted || c.closing) return;
  c.adopted = true;
  if (closed_for_good_) return;
  configure_read(c.handle, caf::io::receive_policy::at_most(read_at_most));
}

void net_broker::consumed(std::uint64_t number, std::uint64_t bytes) {
  const auto it = connections_.find(number);
  if (it == connections_.end()) return;
  connection& c = it->second;
  c.unconsumed -= std::min<std::uint64_t>(bytes, c.unconsumed);
  if (c.halted && c.unconsumed <= unconsumed_max / 2) read_on(number, c);
}

void net_broker::read_on(std::uint64_t number, connection& c) {
  if (std::exchange(c.resuming, true)) return;
  // A trigger() in the same round of the multiplexer as the halt() before it is lost: CAF applies the halt at the round's
  // end, and skips the trigger because the connection still looks active.
  later(number, &net_broker::resume_reading);
}

void net_broker::later(std::uint64_t number, void (net_broker::*what)(std::uint64_t)) {
  backend().post(
      [self = caf::strong_actor_ptr(ctrl()), number, what] { (static_cast<net_broker*>(self->get())->*what)(number); });
}

void net_broker::resume_reading(std::uint64_t number) {
  const auto it = connections_.find(number);
  if (it == connections_.end()) return;
  connection& c = it->second;
  c.resuming = false;
  c.halted = false;
  if (!closed_for_good_ && !c.closing) trigger(c.handle);
}

void net_broker::room(interpreter_id owner) {
  const auto it = waiting_for_room_.find(owner);
  if (it == waiting_for_room_.end()) return;
  const std::vector<std::uint64_t> numbers = std::move(it->second);
  waiting_for_room_.erase(it);
  for (const std::uint64_t number : numbers)
    if (const auto c = connections_.find(number); c != connections_.end() && c->second.halted)
      read_on(number, c->second);
}

void net_broker::close(std::uint64_t number) {
  if (number == 0) return close_all();
  const auto it = connections_.find(number);
  if (it == connections_.end() || it->second.closing) return;
  connection& c = it->second;
  c.closing = true;
  in_use_.fetch_sub(1, std::memory_order_relaxed);
  // In a later round: when a connection begins to read and is closed in one and the same, CAF forgets to let go of it.
  later(number, &net_broker::shut_down);
}

void net_broker::shut_down(std::uint64_t number) {
  const auto it = connections_.find(number);
  if (it == connections_.end()) return;
  const int second = ::fcntl(static_cast<int>(it->second.handle.id()), F_DUPFD_CLOEXEC, 0);
  forget(number);
  if (second >= 0) linger(second);
}

void net_broker::forget(std::uint64_t number) {
  const auto it = connections_.find(number);
  if (it == connections_.end()) return;
  // CAF shuts down for writing behind what is queued, then closes the descriptor. It says no more of the connection, and
  // the next one may get the same handle: nothing here may remember it.
  caf::io::broker::close(it->second.handle);
  numbers_.erase(it->second.handle.id());
  connections_.erase(it);
}

void net_broker::linger(int descriptor) {
  // A socket that is closed with unread bytes resets its peer, who then loses what it has not read. So what the peer still
  // sends is read, and thrown away, until it closes too.
  const std::uint64_t number = env_.next_socket_number();
  connection& c = connections_[number];
  c.handle = add_scribe(descriptor);
  c.adopted = c.closing = true;
  numbers_[c.handle.id()] = number;
  configure_read(c.handle, caf::io::receive_policy::at_most(read_at_most));
  delayed_send(this, linger_at_most, linger_atom::value, number);
}

void net_broker::close_all() {
  std::vector<std::uint64_t> all;
  for (const auto& [number, c] : connections_) all.push_back(number);
  for (const std::uint64_t number : all) close(number);
}

void net_broker::on_connection(caf::io::accept_handle acceptor, caf::io::connection_handle handle) {
  for (const auto& [listener, state] : listeners_) {
    if (state.handle != acceptor) continue;
    const std::uint64_t number = env_.next_socket_number();
    connections_[number] = {handle, state.owner};
    numbers_[handle.id()] = number;
    in_use_.fetch_add(1, std::memory_order_relaxed);
    wire_writer& w = outbox_.open(state.owner, record_kind::net_accepted);
    w.put_u64(listener);
    w.put_u64(number);
    w.put_text(peer_of(static_cast<int>(handle.id())));
    commit();
    return flush_soon();
  }
  caf::io::broker::close(handle);
}

void net_broker::on_data(const caf::io::new_data_msg& m) {
  const auto number = numbers_.find(m.handle.id());
  if (number == numbers_.end()) return;
  connection& c = connections_[number->second];
  if (c.closing) return;
  c.unconsumed += m.buf.size();
  tell(c.owner, record_kind::net_data, number->second, {m.buf.data(), m.buf.size()});
  if (c.unconsumed > unconsumed_max && !c.halted) {
    c.halted = true;
    halt(c.handle);
  }
}

void net_broker::on_closed(caf::io::connection_handle handle) {
  const auto it = numbers_.find(handle.id());
  if (it == numbers_.end()) return;
  const std::uint64_t number = it->second;
  numbers_.erase(it);
  const connection c = connections_[number];
  connections_.erase(number);
  if (!c.closing) {
    wire_writer& w = outbox_.open(c.owner, record_kind::net_closed);
    w.put_u64(number);
    w.put_text("");
    commit();
    flush_soon();
    // Behind the flush: until its owner knows, this connection may still wake somebody.
    caf::anon_send(caf::actor_cast<caf::actor>(this), told_atom::value);
  }
}

void net_broker::on_transferred(const caf::io::data_transferred_msg& m) {
  const auto it = numbers_.find(m.handle.id());
  if (it == numbers_.end() || m.remaining > 0) return;
  connection& c = connections_[it->second];
  if (!c.tell_drained) return;
  c.tell_drained = false;
  ack_writes(c.handle, false);
  tell(c.owner, record_kind::net_drained, it->second);
}

void net_broker::tell(interpreter_id owner, record_kind kind, std::uint64_t number, std::string_view text) {
  wire_writer& w = outbox_.open(owner, kind);
  w.put_u64(number);
  if (kind == record_kind::net_closed) {
    w.put_text(text);
  } else {
    w.put_bytes(text);
  }
  const bool crowded = !commit();
  flush_soon();
  if (!crowded || kind != record_kind::net_data) return;
  // The receiver has too much to read: this connection rests until it has room.
  const inbox_ptr box = outbox_.receiver(owner);
  outbox_.flush();
  if (box == nullptr || box->await_room(net_interpreter)) return;
  connection& c = connections_[number];
  c.halted = true;
  halt(c.handle);
  waiting_for_room_[owner].push_back(number);
}

bool net_broker::commit() {
  const send_status sent = outbox_.commit();
  if (sent <= send_status::crowded) return sent == send_status::sent;
  ignoring_visitor nothing;
  outbox_.rollback(nothing);
  return true;
}

void net_broker::flush_soon() {
  if (std::exchange(flush_posted_, true)) return;
  // Behind the events of this round: CAF handles messages to a broker after the sockets that are ready.
  caf::anon_send(caf::actor_cast<caf::actor>(this), flush_atom::value);
}

} // namespace Atoll
