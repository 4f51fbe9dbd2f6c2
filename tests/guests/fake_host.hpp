// Hosts for guests under test: interpreters in one thread, connected by queues of records, with a clock that moves only
// when nothing else can.
// Why: what a guest does is then a function of its program alone; every interleaving here is the same each time.
// Ownership: the world owns its interpreters; ends them in reverse order.
// Threads: one.
#pragma once

#include <algorithm>
#include <deque>
#include <limits>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "channels/buffer_space.hpp"
#include "channels/channel_desk.hpp"
#include "channels/directory.hpp"
#include "runtime/host.hpp"

namespace Atoll::testing {

/// Grows in a string.
class bytes_writer final : public wire_writer {
public:
  std::string take() const { return bytes_.substr(0, size()); }
  void reset() { truncate(0); }

  /// How many bytes fit in messages opened from now on.
  void limit(std::size_t bytes) {
    limit_ = bytes;
    if (bytes_.size() > bytes) bytes_.resize(bytes);
    set_buffer(reinterpret_cast<std::uint8_t*>(bytes_.data()), 0, bytes_.size());
  }

private:
  bool grow(std::size_t n) noexcept override {
    const std::size_t used = size();
    if (n > limit_ - used) return false;
    bytes_.resize(std::min(limit_, (used + n) * 2 + 64));
    set_buffer(reinterpret_cast<std::uint8_t*>(bytes_.data()), used, bytes_.size());
    return true;
  }
  std::size_t limit_ = std::numeric_limits<std::size_t>::max();
  std::string bytes_;
};

class fake_world;

/// One interpreter: its tables, its inbox, its guest.
class fake_interpreter final : public host, private waker {
public:
  fake_interpreter(fake_world& world, interpreter_id id, std::string name, std::size_t memory);
  ~fake_interpreter();

  // What tests look at.
  std::vector<std::string> logged;
  std::vector<std::string> finalizer_errors;
  int finalizers = 0;
  bool exit_done = false;
  std::uint32_t forged_slots = 0; // references are forged: this many slots are told apart
  bool crowded = false;           // what commit() answers for messages to this one
  controls wanted;                // pending_controls()
  std::string state = "new";
  std::string down_reason;
  error down_error;
  std::unique_ptr<guest> program;
  /// From now on this many bytes fit in a message.
  void limit_messages(std::size_t bytes) { writer_.limit(bytes); }
  /// Sends what the import table has for others.
  void flush_protocol();
  /// Lets the guest drop the objects whose credit is home.
  void drop_due();

  // -- host --
  interpreter_id id() const noexcept override { return id_; }
  const std::string& name() const noexcept override { return name_; }
  heap& memory() noexcept override { return heap_; }
  export_table& exports() noexcept override { return exports_; }
  import_table& imports() noexcept override { return imports_; }
  buffer_account& buffers() noexcept override { return buffers_; }
  wire_writer& open_message(interpreter_id to, record_kind kind) override;
  send_status commit() override;
  void rollback() override;
  call_id open_call(guest_word token) override;
  void forget_call(call_id call) override { calls_.erase(call); }
  void await_room(interpreter_id receiver, guest_word token) override;
  wire_writer& open_reply(request_id request) override;
  void reply_error(request_id request, const error& why) override;
  std::optional<received> receive_reference(const wire_ref& ref) override;
  void put_back(wire_reader values) override;
  void give_back(wire_reader values) override;
  channel_desk& channels() noexcept override { return desk_; }
  type_id type_named(std::string_view type) noexcept override;
  std::string_view type_name(type_id type) const noexcept override;
  time_point now() const noexcept override;
  std::uint64_t set_timer(time_point when, guest_word token) override;
  void cancel_timer(std::uint64_t number) override { timers_.erase(number); }
  result<interpreter_id> spawn(const spawn_options& options, const source& from,
                               const std::function<bool(wire_writer&)>& write_args, guest_word token) override;
  void monitor(interpreter_id target, guest_word token) override;
  void demonitor(interpreter_id target, guest_word token) override;
  result<void> interrupt(interpreter_id target) override;
  result<void> kill(interpreter_id target) override;
  std::optional<interpreter_info> look_up(interpreter_id target) const override;
  std::optional<interpreter_info> find(std::string_view name) const override;
  std::vector<interpreter_info> list() const override;
  result<listening> listen(const std::string& address, guest_word token) override;
  void close_listener(std::uint64_t) override { listener_token = 0; }
  void connect(const std::string&, guest_word) override {}
  void adopt_connection(std::uint64_t, guest_word token) override { connection_token = token; }
  void consumed(std::uint64_t, std::size_t bytes) override { consumed_bytes += bytes; }
  bool write(std::uint64_t, std::string_view bytes) override;
  void close_connection(std::uint64_t) override { ++connections_closed; }
  controls pending_controls() const noexcept override { return wanted; }
  void exited() override { exit_done = true; }
  void request_exit(int status) override { exit_status = status; }
  void log(log_level, std::string_view text) override { logged.emplace_back(text); }
  void count_finalizer(const error* failure) override;
  std::optional<std::uint64_t> seed() const noexcept override;
  figures stats() const override { return {{"heap_bytes", 1}}; }
  figures system_stats() const override { return {{"interpreters", 2}}; }
  void survey_references(call_id) override {}

  guest_word listener_token = 0;
  guest_word connection_token = 0;
  std::string written;
  bool write_room = true;
  std::size_t consumed_bytes = 0;
  int connections_closed = 0;
  int exit_status = -1;

private:
  friend class fake_world;
  struct open_request {
    interpreter_id from{};
    call_id call = 0;
  };
  struct open_timer {
    time_point when;
    guest_word token = 0;
  };
  void schedule() noexcept override {} // the world looks at everybody in turn
  void handle(interpreter_id from, const std::string& bytes);
  bool take_box();
  void deliver(record_kind kind, interpreter_id from, wire_reader in);

  fake_world& world_;
  interpreter_id id_;
  std::string name_;
  heap heap_;
  export_table exports_;
  import_table imports_;
  bytes_writer writer_;
  inbox_ptr box_; // where disposals and channels leave things
  channel_desk desk_;
  buffer_account buffers_;
  interpreter_id to_{};
  request_id replying_ = no_request;
  std::map<call_id, guest_word> calls_;
  call_id next_call_ = 1;
  std::map<request_id, open_request> requests_;
  request_id next_request_ = 1;
  std::map<std::uint64_t, open_timer> timers_;
  std::uint64_t next_timer_ = 1;
  std::deque<std::pair<interpreter_id, std::string>> inbox_;
  std::vector<std::pair<interpreter_id, guest_word>> watchers_;
  std::vector<guest_word> rooms_;
};

class fake_world {
public:
  using maker = std::unique_ptr<guest> (*)(host&);
  explicit fake_world(maker make) : make_(make) {
    where_.close_connection = [this](std::uint64_t) { ++connections_closed; };
  }
  /// How many bytes a record may have.
  std::size_t record_limit = record_bytes_max;
  ~fake_world();

  /// A first interpreter running this code; runs everything until nothing can move.
  fake_interpreter& run(const std::string& code, std::size_t memory = 0);
  /// Runs until nothing can move, advancing the clock.
  void settle();
  void end(fake_interpreter& who, const std::string& reason, const error& why = {});
  /// As a shell ends a guest that was killed: nothing of it runs any more, its waits are over, its items are orphans.
  void kill(fake_interpreter& who);
  fake_interpreter* at(interpreter_id id) const;
  fake_interpreter& operator[](std::size_t number) const { return *all_[number - 1]; }
  std::size_t size() const { return all_.size(); }
  const buffer_space& buffers() const { return *where_.buffers(); }
  channel_space& channels() { return *where_.channels(); }
  /// Those that were in something nobody received; see also fake_interpreter's.
  int connections_closed = 0;

private:
  friend class fake_interpreter;
  fake_interpreter& add(const std::string& name, std::size_t memory);
  bool step();
  bool advance();

  maker make_;
  directory where_;
  time_point now_{std::chrono::seconds(1000)};
  std::vector<std::unique_ptr<fake_interpreter>> all_;
};

} // namespace Atoll::testing
