// TCP for every interpreter of a runtime: one CAF broker that speaks in envelopes.
// Why: brokers give the sockets; the records of a whole round of events go to an interpreter in one envelope, and all
// writes of its turn come back in one.
// Ownership: spawned by the runtime when TCP is first needed; it ends with the runtime.
// Threads: CAF's multiplexer thread alone, but for schedule(): any thread.
// Invariants: (1) a connection is read from only after somebody adopted it, so its bytes reach one interpreter.
//             (2) a connection whose bytes nobody consumes is not read from beyond a bound.
//             (3) what was written before a close goes out before it, and the peer can read it whatever it still sends
//                 (for up to 2 s). (4) a connection number is never used twice; CAF's handle is the descriptor, and is.
#pragma once

#include <caf/all.hpp>
#include <caf/io/all.hpp>
#include <unordered_map>

#include "actors/shell/environment.hpp"
#include "channels/fork.hpp"
#include "channels/outbox.hpp"

namespace Atoll {

class net_broker final : public caf::io::broker, public waker {
public:
  /// `in_use`: how many listeners and connections there are that nobody has closed.
  net_broker(caf::actor_config& cfg, environment& env, inbox_ptr box, std::atomic<std::size_t>& in_use);

  void schedule() noexcept override;

protected:
  caf::behavior make_behavior() override;

private:
  struct connection {
    caf::io::connection_handle handle;
    interpreter_id owner{};
    std::size_t unconsumed = 0;
    bool adopted = false;
    bool halted = false;
    bool resuming = false; // a resume message is on its way
    bool closing = false;
    bool tell_drained = false;
  };

  void take_envelopes();
  void handle(record& r, interpreter_id from);
  void listen(std::uint64_t listener, int descriptor, interpreter_id owner);
  void unlisten(std::uint64_t listener);
  void unlisten_all();
  void write(wire_reader& in);
  void adopt(std::uint64_t number, interpreter_id owner);
  void consumed(std::uint64_t number, std::uint64_t bytes);
  void close(std::uint64_t number);
  void close_all();
  void read_on(std::uint64_t number, connection& c);
  void resume_reading(std::uint64_t number);
  void shut_down(std::uint64_t number);
  void forget(std::uint64_t number);
  void linger(int descriptor);
  /// In a later round of the multiplexer, which has applied by then what this one asks of its connections.
  void later(std::uint64_t number, void (net_broker::*what)(std::uint64_t));
  void room(interpreter_id owner);

  void on_connection(caf::io::accept_handle acceptor, caf::io::connection_handle handle);
  void on_data(const caf::io::new_data_msg& m);
  void on_closed(caf::io::connection_handle handle);
  void on_transferred(const caf::io::data_transferred_msg& m);

  void tell(interpreter_id owner, record_kind kind, std::uint64_t number, std::string_view text = {});
  bool commit();
  void flush_soon();
  /// For what is not a turn of its box, which the end waits for anyway: it may have to throw away what others sent.
  gate::visit go_inside() { return gate::visit(*env_.where().inside()); }

  const birthplace born_;
  environment& env_;
  inbox_ptr box_;
  outbox outbox_;
  std::unordered_map<std::uint64_t, connection> connections_;
  std::unordered_map<std::int64_t, std::uint64_t> numbers_; // CAF's handle -> connection
  struct listener_state {
    caf::io::accept_handle handle;
    interpreter_id owner{};
  };
  std::unordered_map<std::uint64_t, listener_state> listeners_;
  std::unordered_map<interpreter_id, std::vector<std::uint64_t>> waiting_for_room_;
  std::atomic<std::size_t>& in_use_; // for the watch: core::sockets_in_use_ says its orders
  bool flush_posted_ = false;
  bool closed_for_good_ = false;
};

} // namespace Atoll
