// Who lives in this runtime: ids, names, inboxes; and what the dead still stand for.
// Why: a message finds its receiver by id; ids are never used twice, so a lookup can fail but never mislead.
// Ownership: one per runtime; interpreters, host references and disposals share it and keep it alive.
// Threads: any thread.
// Invariants: (1) ids grow, from 1. (2) a name has one living bearer. (3) a tombstone stands while loans of a dead
//                 holder are out: the credit it pins goes home with the last of them (rule 4 outlives the holder).
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "channels/buffer_space.hpp"
#include "channels/fork.hpp"
#include "channels/inbox.hpp"
#include "channels/spin_mutex.hpp"
#include "channels/type_names.hpp"
#include "runtime/host.hpp"

namespace Atoll {

/// What a dead holder still pins: credit that borrowers lean on, and whom the dead itself still owes.
using tombstone = import_table::pinned;

class channel_space;

class directory {
public:
  directory();
  directory(const directory&) = delete;
  directory& operator=(const directory&) = delete;
  ~directory();

  /// Closes TCP connections that were on their way to an interpreter that is gone; set once by the system.
  std::function<void(std::uint64_t connection)> close_connection = [](std::uint64_t) {};

  /// The names of the types of exported objects.
  const std::shared_ptr<type_names>& types() const noexcept { return types_; }

  /// Where threads pass that use the runtime and do not keep it.
  const std::shared_ptr<gate>& inside() const noexcept { return inside_; }

  /// The channels of the runtime.
  const std::shared_ptr<channel_space>& channels() const noexcept { return channels_; }
  /// Shared memory.
  const std::shared_ptr<buffer_space>& buffers() const noexcept { return buffers_; }

  interpreter_id next_id() noexcept { return interpreter_id{last_id_.fetch_add(1, std::memory_order_relaxed) + 1}; }

  /// Whether an interpreter ever had this id.
  bool was_given(interpreter_id id) const noexcept {
    return id != host_interpreter && number(id) <= last_id_.load(std::memory_order_relaxed);
  }

  /// Enters an interpreter as starting. False when its name is taken.
  bool enter(interpreter_id id, std::string name, interpreter_id parent, inbox_ptr box);
  void set_state(interpreter_id id, run_state state);
  /// The interpreter is gone: its name is free, its inbox is found no more.
  void leave(interpreter_id id, std::vector<tombstone> pinned);

  inbox_ptr find(interpreter_id id) const;
  std::optional<interpreter_info> look_up(interpreter_id id) const;
  std::optional<interpreter_info> find(std::string_view name) const;
  /// By id.
  std::vector<interpreter_info> list() const;
  std::size_t size() const;

  /// A loan came back to a dead holder. Answers its tombstone when that was the last loan on it.
  std::optional<tombstone> return_loan(interpreter_id holder, const object_id& id, std::uint32_t loans);
  std::size_t tombstones() const;
  /// A copy of every tombstone, for whoever counts all credit.
  std::vector<tombstone> all_pinned() const;

  /// Messages nobody read.
  void count_dead_letter() noexcept { dead_letters_.fetch_add(1, std::memory_order_relaxed); }
  std::uint64_t dead_letters() const noexcept { return dead_letters_.load(std::memory_order_relaxed); }

private:
  struct entry {
    inbox_ptr box;
    std::string name;
    interpreter_id parent{};
    run_state state = run_state::starting;
  };
  static interpreter_info info(interpreter_id id, const entry& e) { return {id, e.name, e.parent, e.state}; }

  const std::shared_ptr<type_names> types_ = std::make_shared<type_names>();
  const std::shared_ptr<gate> inside_ = std::make_shared<gate>();
  const std::shared_ptr<buffer_space> buffers_ = std::make_shared<buffer_space>(inside_);
  const std::shared_ptr<channel_space> channels_;
  const birthplace born_; // in a forked child nobody is found, and no lock taken
  // Held for a look or a change; but list() may take long, and then the others sleep.
  mutable spin_mutex mutex_;
  std::unordered_map<interpreter_id, entry> living_;
  std::unordered_map<std::string, interpreter_id> names_;
  std::unordered_map<interpreter_id, std::vector<tombstone>> dead_;
  std::atomic<std::uint64_t> last_id_{0};
  std::atomic<std::uint64_t> dead_letters_{0};
};

} // namespace Atoll
