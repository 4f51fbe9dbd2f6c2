// Describes what a native interpreter offers: functions, and classes whose objects live in its heap.
//
//   native_interface bank;
//   bank.add(native_class<account>("account").constructor<std::string>().method("deposit", &account::deposit))
//       .function("add", [](int a, int b) { return a + b; });
//
// A class's constructor is a function of the class's name: accounts:call("account", "alice") gives a reference.
// Ownership: plain data; one interface may serve many interpreters, so functions must not share mutable state through
// their captures: what an interpreter's functions share is native_context::state<T>().
// Threads: immutable once a guest was made of it.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "guests/native/native_call.hpp"

namespace Atoll {

/// A class as the guest sees it; native_class<T> fills it in.
struct native_class_info {
  std::string name;
  std::map<std::string, native_method, std::less<>> methods;
  std::map<std::string, native_method, std::less<>> getters;
  std::map<std::string, native_method, std::less<>> setters;
  native_method apply;
  native_function constructor;
  object_class& (*class_in)(object_space& space, std::string_view name) = nullptr;
};

template <class T>
class native_class {
public:
  explicit native_class(std::string name) {
    info_.name = std::move(name);
    info_.class_in = [](object_space& space, std::string_view n) -> object_class& { return space.class_of<T>(n); };
  }

  /// Objects are made by T's constructor with these argument types; without it only the interpreter makes them.
  template <class... Args>
  native_class&& constructor() && {
    info_.constructor = adapt_function([](native_context& c, Args... args) { return c.make<T>(std::move(args)...); });
    return std::move(*this);
  }
  /// A member function of T (or of a base), or a callable that takes T& first.
  template <class F>
  native_class&& method(std::string name, F f) && {
    info_.methods.insert_or_assign(std::move(name), adapt_method<T>(f));
    return std::move(*this);
  }
  /// A data member: get and set.
  template <class M>
  native_class&& property(std::string name, M T::*member) && {
    info_.getters.insert_or_assign(name, adapt_method<T>([member](T& self) { return self.*member; }));
    info_.setters.insert_or_assign(std::move(name),
                                   adapt_method<T>([member](T& self, M x) { self.*member = std::move(x); }));
    return std::move(*this);
  }
  /// Read only: a member function or callable of the object.
  template <class F>
  native_class&& getter(std::string name, F f) && {
    info_.getters.insert_or_assign(std::move(name), adapt_method<T>(f));
    return std::move(*this);
  }
  /// What calling the object itself does: r(...).
  template <class F>
  native_class&& apply(F f) && {
    info_.apply = adapt_method<T>(f);
    return std::move(*this);
  }

  native_class_info take() && { return std::move(info_); }

private:
  native_class_info info_;
};

class native_interface {
public:
  template <class F>
  native_interface& function(std::string name, F f) {
    functions_.insert_or_assign(std::move(name), adapt_function(std::move(f)));
    return *this;
  }
  template <class T>
  native_interface& add(native_class<T>&& described) {
    classes_.push_back(std::make_shared<const native_class_info>(std::move(described).take()));
    const native_class_info& c = *classes_.back();
    if (c.constructor) functions_.insert_or_assign(c.name, c.constructor);
    return *this;
  }
  /// Runs when the interpreter starts, with its arguments; an error stops it.
  template <class F>
  native_interface& on_start(F f) {
    start_ = adapt_function(std::move(f));
    return *this;
  }

  const std::map<std::string, native_function, std::less<>>& functions() const noexcept { return functions_; }
  const std::vector<std::shared_ptr<const native_class_info>>& classes() const noexcept { return classes_; }
  const native_function& start() const noexcept { return start_; }

private:
  std::map<std::string, native_function, std::less<>> functions_;
  std::vector<std::shared_ptr<const native_class_info>> classes_;
  native_function start_;
};

} // namespace Atoll
