// One state of the modelled world: interpreters, their tables, the messages between them; and its packed form.
// Why: an independent model of the reference protocol (ARCHITECTURE.md section 4), written from its rules. It shares no
// code with runtime/ and channels/, so that an error in one of them is not an error in both.
// Threads: a value.
// Invariants: (1) `net` is sorted: two worlds that differ in the order of their messages are the same world.
//             (2) packing is exact: unpack(pack(w)) == w, and different worlds have different packed forms.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace Atoll::model {

inline constexpr int nodes_max = 4;
inline constexpr int lives_max = 3;
inline constexpr int calls_max = 2;
inline constexpr int net_max = 15;

/// One rule broken on purpose.
enum class mutant {
  none,
  gives_all_credit,           // 2: a holder gives its last credit away
  no_lender_pin,              // 4: an entry settles although a loan is out
  unread_keeps_credit,        // 8: a reference destroyed unread returns nothing
  generation_ignored,         // 10: an id resolves to whatever is in its slot
  released_before_last_use,   // 6: the first use that ends lets go
  receipt_overwrites,         // 5: a second receipt replaces the credit
  finalizer_touches_reimport, // 6: the finalizer of an old proxy lets go of the entry, though a new proxy has it
  freed_on_temporary_zero,    // an object that was due is dropped though it was minted again
  loan_returned_early,        // 4: the borrower returns the loan before it has credit
  tombstone_forgotten,        // 9: a dead holder's loans pin nothing
  late_grant_lost,            // 3: a grant to a holder that let go is thrown away
  decref_sent_twice,          // 6
  loans_collected,            // decision 11.8: a pending holder leans on several lenders
  surplus_lost,               // 10: credit over the cap is forgotten
  put_back_lost,              // a message taken back after its entry settled returns nothing
  target_keeps_credit,        // 7: the owner does not take back what a call's target carried
  request_to_dead_unanswered, // 3: nobody answers for a dead owner
  borrows_what_is_lost,       // 4: a holder that knows the owner is gone leans on a loan
  dead_borrower_keeps_loan,   // 9: a pending holder that dies does not pay back
  tombstone_forgets_lender,   // 9: a tombstone does not pay back what the dead had borrowed
  closed_before_tombstones,   // 9: the inbox closes before the tombstones stand
  listed_due_twice,           // I4: an object that is due already is listed again
  unread_call_unanswered,     // 8: a call destroyed unread is not answered
  taken_call_unanswered,      // I5: an interpreter ends without answering what it has taken
  answered_again_at_end,      // I5: an interpreter's end answers what was answered before
  refill_forgotten,           // 3: a borrower does not ask
};

/// One life of an object: from its export to its drop. Lives of one slot follow each other as its generations.
struct place {
  int owner = 0;
  int slot = 0;
};

struct configuration {
  const char* name = "";
  int nodes = 3;
  std::vector<place> lives = {{0, 0}};
  int grant = 2;
  int low = 1;
  int cap = 4;
  int sends = 4; // references guests may send, first-hand and passed on
  int calls = 0;
  unsigned mortal = 0;     // a bit for each interpreter that may be killed
  unsigned finalizing = 0; // ... whose imports may be dropped while it lives (the end of a runtime)
  bool take_back = false;  // a sender may take a message back
  bool late_finalizers = false;
  bool to_itself = false; // guests also send to themselves
  mutant broken = mutant::none;
};

enum class kind { reference, call, decref, request, grant, loan_return, reply };

struct message {
  kind what = kind::reference;
  int life = 0;
  int to = 0;     // reference, grant, loan_return: the receiver; call, reply: the call's number
  int credit = 0; // reference, call: 0 is a loan by `who`; reply: 1 a result, 2 interpreter_gone
  int who = 0;    // request: who asks; call and loans: who sent it; other references only where they may be taken back

  friend bool operator==(const message&, const message&) = default;
  std::uint16_t code() const noexcept;
  static message of(std::uint16_t code) noexcept;
};

enum class node_state { alive, finalizing, closing, gone };
enum class life_state { unborn, exported, dropped, died };
enum class call_state { unused, open, answered, abandoned };

/// A holder's import of an object; once the holder is gone, its tombstone. And the guest's proxies for it.
struct import {
  int used = 0;
  int credit = 0;
  int loans_out = 0;
  int uses = 0;
  int pending = 0;
  int requested = 0;
  int lost = 0;
  int lenders = 0; // a bit each; the protocol knows one, the mutant loans_collected several
  int proxy = 0;
  int garbage = 0; // proxies that wait for their finalizer

  friend bool operator==(const import&, const import&) = default;
};

struct life {
  life_state state = life_state::unborn;
  int due = 0; // how often it stands in the owner's list
  int out = 0;

  friend bool operator==(const life&, const life&) = default;
};

struct call {
  call_state state = call_state::unused;
  int caller = 0;
  int target = 0;
  int taken = 0; // by the owner: 1 not answered yet, 2 answered (told apart for a mutant)

  friend bool operator==(const call&, const call&) = default;
};

struct world {
  std::array<node_state, nodes_max> nodes{};
  std::array<std::array<import, lives_max>, nodes_max> imports{};
  std::array<life, lives_max> lives{};
  std::array<call, calls_max> calls{};
  int sends_left = 0;
  int calls_left = 0;
  int net_size = 0;
  std::array<std::uint16_t, net_max> net{}; // codes, sorted

  const char* fault = nullptr; // what the last step broke; not part of the state

  void send(const message& m);
  void remove(int position);

  friend bool operator==(const world&, const world&) = default;
};

inline constexpr int packed_words_max = 18;

/// A world in as few words as it needs; words[0] & 31 is their number.
struct packed {
  std::array<std::uint32_t, packed_words_max> words{};
  int size() const noexcept { return static_cast<int>(words[0] & 31U); }
};

packed pack(const world& w, const configuration& c);
world unpack(const std::uint32_t* words, const configuration& c);

/// Interpreters that own nothing and may do the same are alike: a world and its renamings stand for each other.
using renaming = std::array<int, nodes_max>; // old name -> new name
struct symmetry {
  std::vector<renaming> all; // the first changes nothing
  std::vector<renaming> back;
  std::vector<std::pair<int, int>> alike; // pairs, ascending
};
symmetry symmetry_of(const configuration& c);
world renamed(const world& w, const configuration& c, const renaming& to);
/// The packed form that stands for all renamings of a world.
packed canonical(const world& w, const configuration& c, const symmetry& s);

std::string node_name(int node);
std::string life_name(int life);
std::string describe(const message& m, const world& w, const configuration& c);
/// The tables, one line each.
std::string describe(const world& w, const configuration& c);

} // namespace Atoll::model
