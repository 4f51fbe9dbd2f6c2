// The Lua guest itself: the state, what hangs on it, and the guest interface.
// Why one class for all C functions: they find it through lua_getextraspace in one load. Its parts are in files of
// their own (tasks, encode, decode, proxies, futures, ...); the members below say which file owns them.
// Ownership: the interpreter's shell. All Lua memory comes from the interpreter's heap.
// Threads: owner only, but for tick(), which a signal handler calls on the owner's thread.
// Errors: Lua is the C build, its errors longjmp. So:
//   - a C function that calls Lua's API keeps only trivial locals; texts under construction are members (scratch_).
//   - functions marked "raises" may longjmp; all others never do, and may have locals with destructors.
// Invariants: (1) no guest code runs after close(), nor after a kill. (2) at most one entry point (guest interface) is
//             active. (3) a message is open (host::open_message) only inside post() and reply(): neither runs guest code.
#pragma once

#include <atomic>
#include <cstdlib>
#include <lua5.4/lua.hpp>
#include <memory>
#include <new>
#include <string>
#include <unordered_map>
#include <vector>

#include "channels/buffer.hpp"
#include "channels/channel_desk.hpp"
#include "guests/lua/code_table.hpp"
#include "guests/lua/connections.hpp"
#include "guests/lua/coverage.hpp"
#include "guests/lua/identity_map.hpp"
#include "guests/lua/profile.hpp"
#include "guests/lua/slab.hpp"
#include "guests/lua/task.hpp"
#include "runtime/finalizers.hpp"
#include "runtime/host.hpp"

namespace Atoll {

/// The kinds of userdata and tables that are the runtime's own; told apart by their metatable's address.
enum class kind : std::uint8_t {
  interpreter,
  proxy,
  local_ref,
  connection,
  error,
  future,
  timer,
  monitor,
  finalizer,
  sentinel,
  listener,
  channel,
  buffer,
  none
};
inline constexpr std::size_t kinds = static_cast<std::size_t>(kind::none);

/// Why lua_resume came back with LUA_YIELD; a coroutine's own yield leaves it at none.
enum class suspension : std::uint8_t { none, wait, preempted };

struct value_step;

/// A message on its way out, but for its values, which are on the stack from `first` to the top.
struct outgoing {
  interpreter_id to{};
  record_kind kind{};
  guest_word token = 0;  // call, eval, invoke: who hears of the answer; 0: nobody
  call_id call = 0;      // post() opens it
  std::string_view text; // function, code, method
  int first = 0;
  invoke_op op{};                               // invoke
  import_table::index via = import_table::none; // invoke
};

class encoder;

class lua_guest final : public guest {
public:
  explicit lua_guest(host& outside) : out(outside) {}
  ~lua_guest() override;
  /// Makes the state; false when the heap has no room for it.
  bool open();
  /// Right after open(): false when there is no memory for them.
  bool instrument(const lua_instruments& with);

  static lua_guest& of(lua_State* L) noexcept { return **static_cast<lua_guest**>(lua_getextraspace(L)); }

  // -- guest: lifecycle.cpp, except where noted -------------------------------------------------------------------
  void start(request_id request, const source& from, wire_reader args) override;
  void deliver(const incoming& message) override; // messages.cpp
  void resume(guest_word token, const outcome& what) override;
  void resume_task(guest_word token, const outcome& what);
  bool run_ready() override; // tasks.cpp
  bool has_ready() const noexcept override { return ready_at_ < ready_.size(); }
  void drop(guest_word object) override;            // proxies.cpp
  std::string describe(guest_word object) override; // proxies.cpp
  bool waiting() const override;
  std::size_t tasks() const override { return active_; }
  std::vector<task_wait> waits() override; // waits.cpp
  void run_exit_handlers() override;       // exit.cpp
  bool acts_at_exit() const override;      // exit.cpp
  bool acts_at_close() const override;     // exit.cpp
  void interrupt(errc code) override;      // interrupt.cpp
  void drop_imports() override { imports_over = true; }
  void close() override;
  void tick() noexcept override;            // interrupt.cpp
  void sample() noexcept override;          // interrupt.cpp
  activity doing() const noexcept override; // function_names.cpp

  // -- tasks: tasks.cpp -------------------------------------------------------------------------------------------
  /// A task ready to be run, its coroutine empty; null when memory is out.
  task* new_task(task_body body, std::string_view label);
  /// Runs a task until it ends or waits. The stack of its coroutine has a function and `nargs` arguments (first run).
  void run(task& t, int nargs);
  /// The same, later: once the current task waits or ends.
  void schedule(task& t, int nargs);
  /// Whether the code running on L may wait; otherwise raises.
  void require_wait(lua_State* L);
  bool can_wait(lua_State* L) const noexcept { return current != nullptr && lua_isyieldable(L) != 0; }
  /// Begins a wait of the current task: the token to be woken with.
  guest_word begin_wait() noexcept;
  /// Gives up the turn until woken; `k` goes on. The last act of a C function: return suspend(...).
  int suspend(lua_State* L, lua_KContext ctx, lua_KFunction k);
  /// To be called first by a continuation: raises what the wait ended with, if it failed.
  void end_wait(lua_State* L);
  /// Wakes whoever waits with this token, if it still does; it runs before the entry point returns.
  void wake(guest_word token, wake_reason why, errc code = errc::ok);
  void give_up_wait(task& t);
  void run_woken();
  void run_next_ready();
  void forget_run();
  task* find_waiting(guest_word token) noexcept;
  /// Ends a task without running it again.
  void discard(task& t, bool run_close_handlers);

  // -- bodies: bodies.cpp -----------------------------------------------------------------------------------------
  /// Raises. Inside a task's entry: calls what stands at index 2 with what is above it; its handler is at index 1.
  int run_body(lua_State* L);
  void finished(task& t, lua_State* L);
  void failed(task& t, const error& why);
  void report(const task& t, const error& why);
  /// Runs `entry` in a new task; it finds the function at index 1.
  void run_callback(int function_ref, std::string_view label, lua_CFunction entry, slab_id repeats = 0);

  // -- values: encode.cpp, decode.cpp -----------------------------------------------------------------------------
  /// Values at first..top of L's stack; false: refused, failure() says why, and nothing was raised. `what` is what they are
  /// called, with a number unless it stands alone.
  bool encode(lua_State* L, int first, wire_writer& w, const char* what, bool alone = false);
  /// An encoding without references and connections into `bytes`.
  bool encode_payload(lua_State* L, int index, std::string& bytes);
  /// Raises. Pushes the values of the message under way (reading) and answers how many.
  int push_message_values(lua_State* L);
  /// Raises. The same for bytes without references.
  int push_plain_values(lua_State* L, std::string_view bytes);
  void begin_reading(wire_reader values);
  /// Returns the credit of what was not decoded, at the end of each entry point that began reading.
  void end_reading();

  // -- packed classes: classes.cpp --------------------------------------------------------------------------------
  /// Calls __pack of every object of a packed class in the values, for the encode() that follows at once; false: one
  /// failed, failure() says why. Runs guest code, so no message may be open; never raises.
  bool pack(lua_State* L, int first, const char* what, bool alone = false);
  /// The encode() before gave up because of such an object.
  bool must_pack() const noexcept { return must_pack_; }
  /// Behind that encode().
  void forget_packed(lua_State* L);
  /// Pushes the name of the packed class whose metatable is at this index; false: it is none, nothing was pushed.
  bool push_packed_class(lua_State* L, int metatable) const;
  /// Raises. lua_call for __pack and __unpack: their errors name the class and the value.
  void call_of_class(lua_State* L, int nargs, int nresults, const value_step& where, const char* what,
                     std::string_view class_name);

  int unpacking = 0;        // calls of __unpack under way: the message under way is not to be replaced by another
  bool for_newborn = false; // encode() for an interpreter that has registered no class yet

  // -- messages: messages.cpp -------------------------------------------------------------------------------------
  /// Sends; false: not sent, failure() says why. crowded() tells whether to wait for room. Never raises.
  bool post(lua_State* L, outgoing& m);
  bool crowded() const noexcept { return crowded_; }
  void reply(lua_State* L, task& t, int first);
  /// Connections that stand in the message just written belong to its receiver once it is sent.
  void moving_done(bool sent);
  /// It was in something that was not sent after all: it is fresh again, or closed when nobody has it any more.
  void move_back(std::uint64_t connection);

  // -- references: proxies.cpp ------------------------------------------------------------------------------------
  /// The export slot of an object of this interpreter's own, entered if need be; nothing: out of memory. The caller
  /// sends it at once (put_exported), or it stays for ever.
  std::optional<export_table::slot_index> export_object(lua_State* L, int index);
  /// "Counter 3 of interpreter 2 'w'": what a reference refers to, without asking its owner.
  std::string object_text(const object_id& id, type_id type) const;
  /// The same for one of this interpreter's own.
  std::string own_object_text(guest_word object) const;
  /// Raises. Pushes what a reference in the message under way stands for.
  void push_reference(lua_State* L, const wire_ref& ref);
  void push_exported(lua_State* L, guest_word object) { push_anchored(L, exported, static_cast<lua_Integer>(object)); }

  // -- finalizers: finalizers.cpp ---------------------------------------------------------------------------------
  /// Pushes the function and the object of the finalizer to run next at exit; false: none is left.
  bool push_next_finalizer(lua_State* L, int min_priority);
  /// All that are left and have a priority, without waiting. None can be made after it.
  void run_last_finalizers();
  /// Counts and logs; the error, if any, is on top and is popped.
  void finalizer_ran(lua_State* L, int status, const char* what);

  // -- errors: errors.cpp -----------------------------------------------------------------------------------------
  error& failure() noexcept { return failure_; }
  /// What a call is for, when it is for an object: fits what a continuation remembers.
  struct call_target {
    bool is_object = false;
    type_id type{};
    std::uint32_t slot = 0;

    std::intptr_t packed() const noexcept {
      return is_object ? static_cast<std::intptr_t>(std::uint64_t{slot} << 32U
                                                    | std::uint64_t{static_cast<std::uint16_t>(type)} << 1U | 1U)
                       : 0;
    }
    static call_target unpacked(std::intptr_t p) noexcept {
      const auto all = static_cast<std::uint64_t>(p);
      return {(all & 1U) != 0, type_id{static_cast<std::uint16_t>(all >> 1U)}, static_cast<std::uint32_t>(all >> 32U)};
    }
  };
  call_target target_of(const outgoing& m) const noexcept;
  /// Before end_wait(): when the call failed because its owner is gone, the error names the object too.
  void name_target(call_target target);
  bool fail_with(errc code, std::string message);
  /// Raises failure() as an error object.
  int raise_failure(lua_State* L);
  /// Raises an error object.
  int raise(lua_State* L, errc code, const char* format, ...) __attribute__((format(printf, 4, 5)));
  /// Raises when out of memory. Pushes an error object.
  void push_error(lua_State* L, const error& e);
  /// Takes a snapshot of the error value at `index`; never raises.
  error capture(lua_State* L, int index, int status);
  static int with_traceback(lua_State* L); // a message handler

  // -- interrupts: interrupt.cpp ----------------------------------------------------------------------------------
  /// Raises an error that no pcall of the guest keeps to itself (invariants there).
  int raise_control(lua_State* L, errc code);
  /// How often raise_control was called: a protected call in whose course it changed passes the error on.
  std::uint32_t control_raises = 0;
  bool unwinding = false;  // the hook stays armed on every coroutine that runs,
  int unwinding_count = 1; // with this count
  errc forced = errc::ok;  // raised by the hook whatever the host's controls say
  int unwinding_ticks = 0; // how many have been since it began, or since an error was last raised
  // As the host's limits have it, at hand.
  std::uint32_t deepest = ~std::uint32_t{0}; // how many calls may wait for each other
  std::uint64_t cpu_limit = 0;               // nanoseconds for a task; 0: none
  std::uint64_t cpu_from = 0;                // the thread's clock when the stretch that runs began, if there is a limit
  /// Nanoseconds the calling thread has computed.
  static std::uint64_t thread_cpu() noexcept;
  /// The task that runs, which is to be ended for it.
  bool over_cpu_limit() const noexcept;
  /// What an error that raise_control() raises says.
  std::string control_text(errc code) const;
  /// Raises an error on, if a control error was raised since `raises` were counted and something caught it.
  void pass_on_control(lua_State* L, std::uint32_t raises) {
    if (control_raises != raises) lua_error(L);
  }
  /// For a __gc: calls `entry`, which raises nothing, with the two values on top of L, where hooks work; a control error
  /// that was raised in it goes on to the code around. Its results, or an error for want of memory, are on top then. The
  /// status. finalizers.cpp
  int call_in_gc(lua_State* L, lua_CFunction entry);
  const void* plain_metatable = nullptr; // the last one that setmetatable() found to have no __gc
  /// What ran on L and was interrupted has ended.
  void stop_unwinding(lua_State* L) noexcept;
  static void arm(lua_State* L, int count) noexcept;
  static void disarm(lua_State* L) noexcept;

  // -- coroutines: coroutines.cpp ---------------------------------------------------------------------------------
  suspension suspending = suspension::none;
  std::unordered_map<lua_State*, task*> captured; // coroutines that wait as part of a task

  // -- helpers ----------------------------------------------------------------------------------------------------
  static void push_anchored(lua_State* L, int table_ref, lua_Integer i) {
    lua_rawgeti(L, LUA_REGISTRYINDEX, table_ref);
    lua_rawgeti(L, -1, i);
    lua_remove(L, -2);
  }
  kind kind_at(lua_State* L, int index) const noexcept;
  /// The userdata at `index`; raises when it is not of this kind.
  void* check(lua_State* L, int index, kind k, const char* name);
  /// Raises. Makes the metatable of a kind (kinds.hpp), if there is none yet.
  void need_kind(lua_State* L, kind k) {
    if (metatables[static_cast<std::size_t>(k)] == nullptr) [[unlikely]]
      make_kind(L, k);
  }
  /// Raises. Sets the metatable of what is on top; nothing is raised after need_kind().
  void set_kind(lua_State* L, kind k);
  time_point later(double seconds) const noexcept;
  /// As messages name it: interpreter 2 'bank'.
  std::string name_of_interpreter(interpreter_id id) const;
  /// What a handle knows: the names of the dead are nowhere else.
  std::string remembered_name(interpreter_id id) const;
  /// Raises when the table at `index` has a key that is not in `known` (ends with null): options mistyped are no defaults.
  static void check_options(lua_State* L, int index, const char* const* known);
  /// Raises when out of memory. Pushes the handle of an interpreter; `name` may be empty.
  void push_handle(lua_State* L, interpreter_id id, std::string_view name);

  host& out;
  lua_State* main = nullptr;
  std::atomic<lua_State*> running{nullptr}; // what executes now; read by tick()
  task* current = nullptr;
  const outcome* wait_outcome = nullptr; // while the entry point that brought it is active
  bool imports_over = false;
  bool closing = false;
  bool dead = false;   // killed
  int chunk_state = 0; // 0 not started, 1 running, 2 returned, 3 failed

  std::uint32_t libraries = 0; // that are open: libraries.cpp

  // Registry slots, filled by open(), but for the metatables.
  const void* metatables[kinds] = {}; // null: not made yet
  int metatable_refs[kinds] = {};
  int interface_ref = LUA_NOREF;
  int exported = LUA_NOREF;       // word -> object, object -> word
  int local_refs = LUA_NOREF;     // object -> its local ref, weak keys
  int proxies = LUA_NOREF;        // import index -> proxy, weak values
  int handles = LUA_NOREF;        // interpreter id -> handle, weak values
  int method_stubs = LUA_NOREF;   // method name -> function
  int channels_ref = LUA_NOREF;   // channel number -> channel, weak values
  int futures_ref = LUA_NOREF;    // slab index -> future, weak values
  int finalizers_ref = LUA_NOREF; // object -> sentinel, ephemeron
  int sentinels_ref = LUA_NOREF;  // finalizer id -> sentinel, weak values
  int classes = LUA_NOREF;        // packed classes: name -> metatable, metatable -> name
  int packed_ref = LUA_NOREF;     // object -> record, of the message under way; otherwise false
  int atoll_key = LUA_NOREF;      // the string "__atoll"
  int name_key = LUA_NOREF;       // the string "__name"

  struct future_state {
    enum class status : std::uint8_t { pending, done, failed } what{};
    bool looked_at = false;
    call_id call = 0;
    interpreter_id callee{}; // of the call
    std::vector<guest_word> waiters;
  };
  slab<future_state> futures; // futures.cpp

  struct timer_state {
    int function = LUA_NOREF;
    double period = 0; // 0: once
    bool busy = false; // the last run of an `every` has not ended
    time_point next;
    std::uint64_t timer = 0;
  };
  slab<timer_state> timers; // timers.cpp

  struct monitor_state {
    int function = LUA_NOREF;
    interpreter_id target{};
  };
  slab<monitor_state> monitors; // monitors.cpp

  struct listener_state {
    int function = LUA_NOREF;
    std::uint64_t listener = 0;
  };
  slab<listener_state> listeners;     // net.cpp
  slab<connection_state> connections; // net.cpp, read.cpp
  std::vector<slab_id> moving;        // connections in the message under way
  slab<buffer> buffers;               // buffers.cpp
  std::uint64_t moves = 0;            // connections passed on so far

  slab<channel_handle> channels; // channels.cpp: what the userdata name; a killed guest lets go of them too
  struct undelivered_hook {
    int function = LUA_NOREF;
    channel_handle from;                   // hidden; closed with the channel it serves
    boost::intrusive_ptr<guest_wait> wait; // null: its function runs, or the turn was to end
  };
  slab<undelivered_hook> hooks; // channels.cpp

  std::vector<int> exit_handlers; // exit.cpp
  bool exit_handlers_over = false;
  on_demand<finalizer_registry> finalizers; // finalizers.cpp
  bool finalizers_over = false;
  lua_State* dying_thread = nullptr; // where finalizers of dying objects run
  int dying_anchor = LUA_NOREF;
  bool dying_busy = false;
  code_table& codes() { return codes_.need(*this); } // code_table.cpp
  // Null: off.
  std::unique_ptr<profiler> profile;
  std::unique_ptr<line_coverage> coverage;
  std::atomic<bool> sample_due{false}; // relaxed: set by a signal handler on this thread

  /// What chooses among several that are ready; repeats with the runtime's seed.
  std::uint64_t next_random() noexcept {
    std::uint64_t z = (random_ += 0x9E3779B97F4A7C15ULL); // splitmix64
    z = (z ^ (z >> 30U)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27U)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31U);
  }
  /// One of the numbers below n.
  std::uint64_t draw(std::uint64_t n) noexcept { return next_random() % n; }

  std::string scratch;   // for texts under construction
  std::string traceback; // of the latest error, by with_traceback
  struct spawn_request {
    spawn_options options;
    source from;
  };
  spawn_request& spawning() { return spawning_.need(); } // interpreters.cpp
  std::vector<interpreter_id> listed;                    // interpreters.cpp
  host::figures figures;                                 // library.cpp
  std::string warning;                                   // library.cpp
  bool warnings_on = true;

  /// The message whose values are being decoded; what is left in it must be paid for (decode.cpp).
  struct {
    bool active = false;
    wire_reader in;
    import_table::index use = import_table::none;
  } reading;
  const incoming* arriving = nullptr; // messages.cpp
  request_id start_request = no_request;
  const source* starting = nullptr;
  std::vector<task*> waiting_for_start;

private:
  friend class encoder;

  std::uint64_t random_ = 0;
  on_demand<code_table> codes_;
  on_demand<spawn_request> spawning_;
  std::vector<std::unique_ptr<task>> all_tasks_;
  std::vector<task*> idle_;
  std::vector<task*> ready_; // in order; taken from the front by run_woken
  std::size_t ready_at_ = 0;
  std::size_t active_ = 0;
  type_id type_at(lua_State* L, int index);
  void make_kind(lua_State* L, kind k);

  std::vector<std::uint32_t> slots_; // exported word - 1 -> export slot
  void lost_with_owner(call_target target);
  on_demand<outcome> gone_;    // name_target()'s
  std::string last_type_name_; // as last asked for
  type_id last_type_{};
  std::vector<guest_word> free_words_;
  template <class Open>
  bool write_values(lua_State* L, int first, const char* what, import_table::index target, Open open);
  void give_up_record();
  bool commit_to(const outgoing& m);
  bool too_deep(const outgoing& m, std::uint32_t depth);
  bool must_pack_ = false; // encode() gave up: pack() first
  bool packed_ = false;    // packed_ref is filled
  identity_map seen_;      // encode.cpp
  std::string path_;       // encode.cpp
  error failure_;
  bool crowded_ = false;
};

} // namespace Atoll
