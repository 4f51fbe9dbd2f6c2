// The rules: every step the modelled world can take.
// Why: see world.hpp. The names are those of ARCHITECTURE.md section 4; each function stands for one there.
// Threads: one.
//
// What a step is. A guest acts (sends, calls, lets a proxy go, answers); a finalizer runs; a message is handled, destroyed
// unread or taken back; an owner drops what is due; an interpreter ends. Protocol words are in flight from the moment
// they are queued: the network may keep any message for as long as it likes, so a queue that is sent later adds nothing.
// An end is one step: between the last use's end and the inbox's close an interpreter handles nothing, and what others
// send meanwhile waits in the network as it would anyway.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/model/world.hpp"

namespace Atoll::model {

enum class action {
  send,
  forward,
  call,
  collect,
  finalize,
  handle,
  destroy,
  take_back,
  drop,
  answer,
  drop_imports,
  end,
  bury
};

struct step {
  action what = action::send;
  int who = 0;
  int life = 0;
  int to = 0;    // send, forward: the receiver; answer: the call
  message about; // handle, destroy, take_back
};

/// What a run came across: a bit each, so that a model that avoids the interesting paths is noticed.
enum class event {
  loan,               // a holder lent
  borrowed,           // a holder became pending
  loan_straight_back, // a later loan was returned at once
  lender_was_pending, // a pending holder lent
  refill,             // a grant found its entry
  late_grant,         // a grant found no entry
  surplus,            // credit over the cap went home
  minted_while_due,   // a temporary zero
  stale_request,      // a request for a generation that is over
  slot_reused,        // a generation followed another
  lost,               // a holder learned that the owner is gone
  tombstone,          // a dead holder left one
  tombstone_in_debt,  // ... whose own lender waits
  loan_to_tombstone,  // a loan came home to the dead
  reimported,         // an object arrived while its old proxy waits for the finalizer
  put_back_late,      // a message was taken back after its entry was gone
  unread,             // a reference was destroyed unread
  to_itself,          // a loan came back to its lender as a message
  call_answered,      // with a result
  call_before_end,    // a call was taken, and its owner ended
  call_after_end,     // a call found its owner gone
  refused,            // a reference reached an interpreter whose imports were dropped
  put_back_pending,   // a message was taken back after its entry was gone and had come again, as a loan
};

constexpr std::uint32_t bit(event e) { return 1U << static_cast<unsigned>(e); }

struct successor {
  step how;
  world to;
};

class protocol {
public:
  explicit protocol(const configuration& c) : c_(c) {}

  world initial() const;
  /// Every world that is one step from `from`.
  void successors(const world& from, std::vector<successor>& all);
  std::uint32_t events() const noexcept { return events_; }

private:
  import& at(int node, int life){return w_.imports[static_cast<std::size_t>(node)][static_cast<std::size_t>(life)];
} life& life_at(int k) {
  return w_.lives[static_cast<std::size_t>(k)];
}
call& call_at(int i) { return w_.calls[static_cast<std::size_t>(i)]; }
node_state& state_of(int node) { return w_.nodes[static_cast<std::size_t>(node)]; }
int owner_of(int k) const { return c_.lives[static_cast<std::size_t>(k)].owner; }
int lives() const { return static_cast<int>(c_.lives.size()); }
bool is(mutant m) const { return c_.broken == m; }
bool alive(int node) { return state_of(node) == node_state::alive; }
bool is_gone(int node) { return state_of(node) == node_state::gone || state_of(node) == node_state::closing; }
void note(event e) { events_ |= bit(e); }
int receiver_of(const message& m);
int sender_of(int node) const { return c_.take_back ? node : 0; }

// The holder's side (runtime/imports.hpp).
void receive(int h, int k, const message& m);
void drop_use(int h, int k);
message give(int h, int k, int credit);
void put_back(int h, int k, const message& m);
void on_grant(int h, int k, int credit);
void on_loan_return(int h, int k);
void drop_all_uses(int h);
void settle(int h, int k);
void add_credit(int h, int k, int credit);
void request_credit(int h, int k);
void pay_back(int h, int k);
void erase(int h, int k);
void send_decref(int k, int credit);

// The owner's side (runtime/exports.hpp).
bool exportable(int k);
void mint(int k);
int resolve(int k);
void take_back(int k, int credit);
void come_home(const message& m);

// Messages and ends (actors/interpreter_turn.cpp, interpreter_end.cpp, channels/disposal.cpp).
void handle(const message& m);
void handle_call(const message& m);
void dispose(const message& m);
void return_to_tombstone(int h, int k);
void reply(int call, int what);
void end(int node);

// Which steps there are.
void guest_steps(int h);
void answers(int h);
void message_steps();
void owner_steps();
void ends(int node);
void begin(const world& from) { w_ = from; }
void done(const step& s);

const configuration& c_;
world w_;
const world* from_ = nullptr;
std::vector<successor>* all_ = nullptr;
std::uint32_t events_ = 0;
}; // namespace Atoll::model

std::string describe(const step& s, const world& before, const configuration& c);

} // namespace Atoll::model
