// TCP as an interpreter's guest sees it: words to and from the net broker (actors/net_broker.hpp).
#include <fmt/format.h>

#include "actors/shell/interpreter.hpp"
#include "actors/shell/sockets.hpp"

namespace Atoll {

namespace {
// Bytes written to a connection and not known to be out, above which its writer is asked to wait.
constexpr std::size_t unsent_max = 1U << 20U;
// The broker is told of consumed bytes in steps of this; it reads ahead by more (net_broker.cpp).
constexpr std::size_t consumed_step = 64U << 10U;
// What is longer goes in several records: one has a limit (record_bytes_max).
constexpr std::size_t write_piece = record_bytes_max / 4;

/// Null: there is none of this number.
template <class Map>
typename Map::mapped_type* find_in(on_demand<Map>& all, std::uint64_t number) noexcept {
  if (!all) return nullptr;
  const auto it = all->find(number);
  return it != all->end() ? &it->second : nullptr;
}
} // namespace

result<host::listening> interpreter::listen(const std::string& address, guest_word token) {
  if (env_.finalizing())
    return fail(errc::runtime_finalizing, fmt::format("cannot listen on {}: the runtime is being finalized", address));
  auto socket = listen_on(address);
  if (!socket) return tl::unexpected(socket.error());
  env_.need_net();
  const std::uint64_t listener = env_.next_socket_number();
  listeners_.need().emplace(listener, token);
  wire_writer& w = outbox_.open(net_interpreter, record_kind::net_listen);
  w.put_u64(listener);
  w.put_u64(static_cast<std::uint64_t>(socket->descriptor));
  commit_word();
  return listening{listener, socket->address};
}

void interpreter::close_listener(std::uint64_t listener) {
  if (!listeners_ || listeners_->erase(listener) == 0) return;
  outbox_.open(net_interpreter, record_kind::net_unlisten).put_u64(listener);
  commit_word();
}

void interpreter::connect(const std::string& address, guest_word token) {
  env_.need_net();
  env_.connect(address, id_, token);
}

void interpreter::connected(guest_word token, const result<opened_socket>& socket) {
  if (guest_ == nullptr) {
    if (socket) close_socket(socket->descriptor);
    return;
  }
  outcome o;
  running_guest_.store(guest_.get(), std::memory_order_relaxed);
  if (!socket) {
    o.what = outcome::kind::failed;
    o.failure = &socket.error();
    return guest_->resume(token, o);
  }
  o.what = outcome::kind::accepted;
  o.connection = env_.next_socket_number();
  o.name = socket->address;
  wire_writer& w = outbox_.open(net_interpreter, record_kind::net_connected);
  w.put_u64(o.connection);
  w.put_u64(static_cast<std::uint64_t>(socket->descriptor));
  commit_word();
  guest_->resume(token, o);
}

void interpreter::adopt_connection(std::uint64_t connection, guest_word token) {
  connections_.need()[connection] = {token, 0, 0};
  outbox_.open(net_interpreter, record_kind::net_adopt).put_u64(connection);
  commit_word();
}

void interpreter::consumed(std::uint64_t connection, std::size_t bytes) {
  connection_state* const state = find_in(connections_, connection);
  if (state == nullptr) return;
  state->consumed += bytes;
  if (state->consumed < consumed_step) return;
  wire_writer& w = outbox_.open(net_interpreter, record_kind::net_consumed);
  w.put_u64(connection);
  w.put_u64(std::exchange(state->consumed, 0));
  commit_word();
}

bool interpreter::write(std::uint64_t connection, std::string_view bytes) {
  bool crowded = false;
  if (connection_state* const state = find_in(connections_, connection)) {
    state->unsent += bytes.size();
    crowded = state->unsent > unsent_max;
  }
  do {
    const std::string_view piece = bytes.substr(0, write_piece);
    bytes.remove_prefix(piece.size());
    wire_writer& w = outbox_.open(net_interpreter, record_kind::net_write);
    w.put_u64(connection);
    w.put_u8(crowded && bytes.empty() ? 1 : 0);
    w.put_bytes(piece);
    commit_word();
  } while (!bytes.empty());
  return !crowded;
}

void interpreter::close_connection(std::uint64_t connection) {
  if (connections_) connections_->erase(connection);
  outbox_.open(net_interpreter, record_kind::net_close).put_u64(connection);
  commit_word();
}

void interpreter::handle_net(record& r) {
  wire_reader& in = r.body;
  outcome o;
  guest_word token = 0;
  if (r.kind == record_kind::net_accepted) {
    const std::uint64_t listener = in.get_u64();
    o.connection = in.get_u64();
    o.what = outcome::kind::accepted;
    o.name = in.get_text();
    const guest_word* const known = find_in(listeners_, listener);
    if (known == nullptr) return close_connection(o.connection);
    token = *known;
  } else {
    o.connection = in.get_u64();
    connection_state* const state = find_in(connections_, o.connection);
    if (state == nullptr) return;
    token = state->token;
    if (r.kind == record_kind::net_data) {
      o.what = outcome::kind::data;
      o.bytes = in.get_bytes(in.left());
    } else if (r.kind == record_kind::net_closed) {
      o.what = outcome::kind::closed;
      o.reason = in.get_text();
      connections_->erase(o.connection);
    } else {
      o.what = outcome::kind::drained;
      state->unsent = 0;
    }
  }
  if (guest_ == nullptr) return;
  running_guest_.store(guest_.get(), std::memory_order_relaxed);
  guest_->resume(token, o);
}

} // namespace Atoll
