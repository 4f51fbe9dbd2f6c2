#include "guests/native/native_guest.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <limits>

#include "guests/native/factory.hpp"

namespace Atoll {

namespace {

const native_class_info* info_of(const object& o) noexcept {
  return static_cast<const native_class_info*>(o.cls->methods);
}

/// "; it has a, b", or nothing.
template <class Map>
std::string what_there_is(const Map& map) {
  std::vector<std::string_view> names;
  names.reserve(map.size());
  for (const auto& [name, f] : map) names.push_back(name);
  return names.empty() ? std::string() : fmt::format("; it has {}", fmt::join(names, ", "));
}

template <class Map>
const typename Map::mapped_type* find_in(const Map& map, std::string_view name) {
  const auto at = map.find(name);
  return at != map.end() ? &at->second : nullptr;
}

native_results without_values(const native_results& r) {
  return r.map([](auto&&) { return std::vector<value>{}; });
}

native_task<native_results> without_values(native_context&, native_task<native_results> task) {
  co_return without_values(co_await std::move(task));
}

} // namespace

native_guest::native_guest(host& outside, std::shared_ptr<const native_interface> offered)
    : host_(outside), offered_(std::move(offered)), context_(outside) {
  for (const auto& c : offered_->classes()) c->class_in(context_.objects(), c->name).methods = c.get();
}

// -- messages in -------------------------------------------------------------------------------------------------------

void native_guest::start(request_id request, const source&, wire_reader args) {
  answer(request, "start", guarded_reply([&]() -> native_reply {
           const native_results given = decode_values(args, context_.references());
           if (!given || !offered_->start()) return without_values(given);
           native_reply reply = offered_->start()(context_, *given);
           if (const auto* now = std::get_if<native_results>(&reply)) return without_values(*now);
           return without_values(context_, std::move(std::get<native_task<native_results>>(reply)));
         }),
         nullptr);
}

void native_guest::deliver(const incoming& message) {
  // The target lives until its answer is made, whatever the method lets go of.
  object* const target = message.kind == record_kind::invoke ? &object_of(message.target) : nullptr;
  std::optional<own_holder> held;
  if (target != nullptr) held.emplace(*target);
  handled_.store(&message, std::memory_order_relaxed);
  native_reply reply = guarded_reply([&] { return handle_message(message); });
  handled_.store(nullptr, std::memory_order_relaxed);
  answer(message.request, message.name, std::move(reply), target);
}

activity native_guest::doing() const noexcept {
  activity now;
  if (const incoming* const m = handled_.load(std::memory_order_relaxed))
    m->name.copy(now.what, sizeof now.what - 1); // the rest is zero
  return now;
}

native_reply native_guest::handle_message(const incoming& message) {
  native_results given = decode_values(message.args, context_.references());
  if (!given) return given;
  switch (message.kind) {
  case record_kind::send:
  case record_kind::call: return call_function(message.name, *given);
  case record_kind::invoke: return invoke(message, object_of(message.target), *given);
  default: break;
  }
  return fail(errc::unknown_function, "a native interpreter evaluates no code; call one of its functions");
}

native_reply native_guest::call_function(std::string_view name, native_args args) {
  const native_function* f = find_in(offered_->functions(), name);
  if (f != nullptr) return (*f)(context_, args);
  return fail(errc::unknown_function,
              fmt::format("interpreter {} has no function \"{}\"{}", number_and_name(host_.id(), host_.name()), name,
                          what_there_is(offered_->functions())));
}

std::string native_guest::text_of(const object& o) const {
  return fmt::format("{} {} of interpreter {}", o.cls->name, o.export_slot, number_and_name(host_.id(), host_.name()));
}

native_reply native_guest::invoke(const incoming& message, object& target, native_args args) {
  const native_class_info* c = info_of(target);
  switch (message.op) {
  case invoke_op::get: return access(target, false, args);
  case invoke_op::set: return access(target, true, args);
  case invoke_op::apply:
    if (c != nullptr && c->apply) return c->apply(context_, target, args);
    return fail(errc::unknown_function, fmt::format("{} cannot be called", text_of(target)));
  case invoke_op::method: break;
  }
  const native_method* m = c != nullptr ? find_in(c->methods, message.name) : nullptr;
  if (m != nullptr) return (*m)(context_, target, args);
  return fail(errc::unknown_function, fmt::format("{} has no method \"{}\"{}", text_of(target), message.name,
                                                  c != nullptr ? what_there_is(c->methods) : ""));
}

native_reply native_guest::access(object& target, bool set, native_args args) {
  const std::string* key = args.empty() ? nullptr : args.front().if_string();
  const native_class_info* c = info_of(target);
  const native_method* m = c != nullptr && key != nullptr ? find_in(set ? c->setters : c->getters, *key) : nullptr;
  if (m != nullptr) return (*m)(context_, target, args.subspan(1));
  const bool read_only = set && c != nullptr && key != nullptr && find_in(c->getters, *key) != nullptr;
  return fail(errc::unknown_function,
              fmt::format("{} has no {}property {}{}", text_of(target), read_only ? "writable " : "",
                          args.empty() ? "nil" : to_string(args.front()),
                          c != nullptr ? what_there_is(c->getters) : ""));
}

// -- tasks -------------------------------------------------------------------------------------------------------------

/// The task that answers a message.
class native_guest::message_root final : public native_root {
public:
  message_root(native_guest& guest, request_id request, std::string_view what, native_task<native_results> task,
               object* target)
      : guest_(guest), request_(request), what_(what), task_(std::move(task)) {
    if (target != nullptr) target_.emplace(*target);
  }

private:
  std::coroutine_handle<> begin(native_root*& ended) noexcept override { return task_.begin(*this, ended); }
  void ended() override {
    guest_.answer(request_, what_, guarded([&] { return task_.take(); }));
  }

  native_guest& guest_;
  request_id request_;
  std::string what_;
  std::optional<own_holder> target_; // destroyed after the task that uses it
  native_task<native_results> task_;
};

void native_guest::answer(request_id request, std::string_view what, native_reply reply, object* target) {
  if (auto* now = std::get_if<native_results>(&reply)) return answer(request, what, std::move(*now));
  auto& task = std::get<native_task<native_results>>(reply);
  context_.tasks_.start(std::make_unique<message_root>(*this, request, what, std::move(task), target));
}

void native_guest::resume(guest_word token, const outcome& what) {
  // An answer nobody waits for any more is let go.
  if (!killed() && context_.tasks_.resume(token, what)) return;
  if (what.what == outcome::kind::values) host_.give_back(what.values);
}

void native_guest::interrupt(errc code) {
  if (code == errc::killed)
    killed_ = true;
  else
    context_.tasks_.interrupt(code);
}

// -- answers -----------------------------------------------------------------------------------------------------------

void native_guest::answer(request_id request, std::string_view what, native_results results) {
  if (!results) return report(request, what, std::move(results.error()));
  if (request == no_request) return;
  result<void> encoded = encode_values(host_.open_reply(request), context_.references(), *results);
  if (encoded && host_.commit() <= send_status::crowded) return;
  if (encoded) encoded = fail(errc::out_of_memory, "no memory for the answer");
  host_.rollback();
  report(request, what, std::move(encoded.error()));
}

void native_guest::report(request_id request, std::string_view what, error why) {
  if (why.code == errc::invalid_argument || why.code == errc::not_shareable || why.code == errc::bad_message)
    why.message = fmt::format("{}: {}", what, why.message);
  why.interpreter = host_.id();
  why.interpreter_name = host_.name();
  if (request != no_request) return host_.reply_error(request, why);
  host_.log(log_level::warn, fmt::format("a message failed: {}: {}", what, why.message));
}

// -- objects and the end -----------------------------------------------------------------------------------------------

void native_guest::drop(guest_word word) {
  object& o = object_of(word);
  o.export_slot = object::not_exported;
  release(o);
}

std::string native_guest::describe(guest_word word) { return object_of(word).cls->name; }

bool native_guest::killed() const noexcept { return killed_ || host_.pending_controls().kill; }

/// An exit handler. When one that waits has ended, the next is due.
class native_guest::exit_root final : public native_root {
public:
  exit_root(native_guest& guest, native_context::exit_handler handler) : guest_(guest), handler_(std::move(handler)) {}

  /// True: it waits, and is to be started.
  bool call() {
    const result<void> ran = guarded([&]() -> result<void> {
      task_ = handler_(guest_.context_);
      return {};
    });
    if (!task_) report_finalizer(guest_.host_, ran, "an exit handler");
    return static_cast<bool>(task_);
  }

private:
  std::coroutine_handle<> begin(native_root*& ended) noexcept override { return task_.begin(*this, ended); }
  void ended() override {
    report_finalizer(guest_.host_, detail::outcome_of(task_), "an exit handler");
    guest_.run_exit_handlers();
  }

  native_guest& guest_;
  native_context::exit_handler handler_; // not moved while the coroutine uses what it has captured
  native_task<> task_;
};

bool native_guest::begin_next_handler() {
  auto handler = std::make_unique<exit_root>(*this, std::move(context_.exit_handlers_.back()));
  context_.exit_handlers_.pop_back();
  if (!handler->call()) return true;
  context_.tasks_.put_off(std::move(handler));
  return false;
}

void native_guest::run_exit_handlers() {
  // One may add others, of both sorts: they run too.
  while (!killed()) {
    if (context_.exit_handlers_.empty()) {
      if (!context_.finalizers_.run_next(0)) break;
    } else if (!begin_next_handler()) {
      return;
    }
  }
  context_.exit_handlers_over_ = true;
  host_.exited();
}

void native_guest::close() {
  context_.exit_handlers_over_ = true;
  context_.exit_handlers_.clear();
  if (killed()) context_.finalizers_.close(); // of what dies with the frames, too
  context_.tasks_.close();
  while (!killed() && context_.finalizers_.run_next(std::numeric_limits<int>::min())) {
  }
  if (host_.pending_controls().abandoned) return; // it came back too late: no destructor runs after the runtime's end
  context_.finalizers_.close();
  context_.states_.clear();
  context_.objects_.close();
}

guest_factory make_native_guest(native_interface offered) {
  auto shared = std::make_shared<const native_interface>(std::move(offered));
  return [shared](host& outside) -> std::unique_ptr<guest> { return std::make_unique<native_guest>(outside, shared); };
}

} // namespace Atoll
