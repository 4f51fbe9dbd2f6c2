// The holder's side of the reference protocol: which objects of others this interpreter holds, with what credit.
// Why: see exports.hpp. A holder passes references on out of its own credit; letting go is one decref per owner and turn.
// Ownership: one table per interpreter, part of its C++ shell: however a guest ends, its releases go out (rule 9).
// Threads: owner only. Host threads share the host's table under a lock (actors/host_port.hpp).
// Invariants: (1) an entry lives while it has uses, loans out, or waits for credit (pending).
//             (2) a holder that is not pending and not lost keeps at least 1 credit until it settles.
//             (3) an object has one entry, however often it arrives: receipts merge (rule 5).
//             (4) a pending entry leans on one lender, the first; further loans, and loans of a lost object, go straight
//                 back. So who leans on whom has no circle (not even to itself, by a message to itself), and the
//                 tombstones of the dead can't wait for each other.
//             (5) whatever leaves an entry leaves through the outgoing queue: decrefs, requests and loan returns.
//
// How an entry settles, in order (settle()):
//   1. uses are 0: no proxy, handle or call in flight needs it;
//   2. no loan is out: no borrower leans on it (rule 4);
//   3. it is not pending: the lender it borrowed from got its loan back;
//   4. its credit goes to the release queue, and the entry is free.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "runtime/credit.hpp"
#include "runtime/import_index.hpp"
#include "runtime/paged_array.hpp"
#include "runtime/wire.hpp"

namespace Atoll {

/// One word of the protocol on its way out.
struct protocol_message {
  enum class kind : std::uint8_t { decref, credit_request, loan_return };
  kind what{};
  std::uint32_t count = 0; // decref: credit; loan_return: loans
  interpreter_id to{};     // the owner, or the lender
  object_id id;
};

/// What waits to be sent: decrefs in runs, the rest word by word.
struct protocol_queue {
  std::vector<decref_run> decrefs;
  std::vector<protocol_message> others;
  std::size_t words = 0; // objects in decrefs, and others

  void add_decref(const object_id& id, std::uint32_t credit) {
    if (decrefs.empty() || !decrefs.back().extend(id, credit))
      decrefs.push_back({id.owner, id.slot, id.generation, credit, 1});
    ++words;
  }
  void add(const protocol_message& word) {
    others.push_back(word);
    ++words;
  }
  /// Takes over the memory of an empty queue, to fill it again without growing.
  void keep_room(protocol_queue& from) noexcept {
    if (decrefs.empty()) decrefs.swap(from.decrefs);
    if (others.empty()) others.swap(from.others);
  }
  void clear() noexcept {
    decrefs.clear();
    others.clear();
    words = 0;
  }
};

class import_table {
public:
  using index = std::uint32_t;
  static constexpr index none = ~index{0};

  explicit import_table(interpreter_id holder, credit_policy policy = {}) : holder_(holder), policy_(policy) {}

  /// Rules 4, 5: a reference arrived. The caller gets one use of the entry.
  index receive(const wire_ref& ref);

  void add_use(index i) noexcept { ++entries_[i].uses; }
  /// Rule 6: one local use is over; with the last one the entry settles.
  void drop_use(index i) {
    if (--entries_[i].uses > 0) return;
    settle(i);
    if (queue_.words >= send_at_) [[unlikely]]
      send_early_(sender_);
  }
  /// drop_use() calls send(sender) while `words` or more wait: what a long turn lets go of need not wait for its end.
  void send_early_at(std::size_t words, void (*send)(void*), void* sender) noexcept {
    send_at_ = words;
    send_early_ = send;
    sender_ = sender;
  }

  /// Rules 2 to 4: credit, or a loan, for an occurrence of this reference in a message to another holder.
  wire_ref give(index i);
  /// The same for the target of a call: one credit, as it goes home at once (rule 7).
  wire_ref give_target(index i);

  /// The owner granted credit (0: it knows the object no more).
  void on_grant(const object_id& id, std::uint32_t credit);
  /// A borrower returned loans.
  void on_loan_return(const object_id& id, std::uint32_t loans);

  index find(const object_id& id) const noexcept;
  const object_id& id_of(index i) const noexcept { return entries_[i].id; }
  /// What the owner said the object is.
  type_id type_of(index i) const noexcept { return entries_[i].type; }
  std::uint32_t credit_of(index i) const noexcept { return entries_[i].credit; }
  std::uint32_t loans_of(index i) const noexcept { return entries_[i].loans_out; }
  bool pending(index i) const noexcept { return entries_[i].pending; }

  /// What waits to be sent. The shell takes it at the end of a turn, or when queued() grows large.
  std::size_t queued() const noexcept { return queue_.words; }
  protocol_queue& queue() noexcept { return queue_; }
  /// The queue word by word, decrefs first: for audits and tests.
  std::vector<protocol_message> words() const;
  std::vector<protocol_message> take_words();

  /// Rule 9: every use is over, at once; for interpreters whose guest is closed.
  void drop_all_uses();

  /// What cannot settle yet because loans are out: the entries leave the table and become tombstones.
  struct pinned {
    object_id id;
    std::uint32_t credit = 0;
    std::uint32_t loans_out = 0;
    std::vector<interpreter_id> owed;
  };
  std::vector<pinned> take_pinned();

  /// A message was taken back: its reference's credit, or the loan, returns to the entry, or home if the entry
  /// went meanwhile.
  void put_back(const wire_ref& ref);

  std::size_t size() const noexcept { return live_; }
  std::uint64_t releases() const noexcept { return releases_; }
  /// Memory for the entries and for finding them.
  std::size_t bytes() const noexcept;

  /// Calls f(object_id, credit, loans_out) for every entry.
  template <class F>
  void for_each(F&& f) const {
    for (index i = 0; i < entries_.size(); ++i)
      if (const entry& e = entries_[i]; e.used) f(e.id, e.credit, e.loans_out);
  }

private:
  // Two to a cache line: there may be millions.
  struct entry {
    object_id id; // slot: the next free entry, while this one is free
    std::uint32_t credit = 0;
    std::uint32_t uses = 0;
    std::uint32_t loans_out = 0;
    type_id type{};
    bool used : 1 = false;
    bool pending : 1 = false;   // borrowed: no credit of its own yet; its lender stands in lenders_
    bool requested : 1 = false; // asked for credit, not answered yet
    bool lost : 1 = false;      // the owner is gone: there is no credit to have, and nothing to keep alive
  };
  static_assert(sizeof(entry) == 32);

  index insert(const object_id& id);
  void erase(index i);
  void settle(index i);
  wire_ref lend(entry& e);
  /// Rule 10: what would lift the entry over policy.cap goes home, half of all at least.
  void add_credit(entry& e, std::uint32_t credit);
  void request_credit(entry& e);
  void pay_back(index i);

  interpreter_id holder_;
  credit_policy policy_;
  paged_array<entry> entries_;
  std::unordered_map<index, interpreter_id> lenders_; // of pending entries: whose loan keeps the object alive
  index free_ = none;
  std::size_t live_ = 0;
  std::uint64_t releases_ = 0;
  import_index index_;
  protocol_queue queue_;
  std::size_t send_at_ = ~std::size_t{0}; // words in queue_
  void (*send_early_)(void*) = nullptr;
  void* sender_ = nullptr;
};

} // namespace Atoll
