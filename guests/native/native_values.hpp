// The two kinds of reference a native interpreter's values hold, as argument and result types.
//   handle<T>     an object of this interpreter, of class T
//   foreign_ref   an object of another
// Threads: owner only.
#pragma once

#include <fmt/format.h>

#include "guests/native/foreign_ref.hpp"
#include "runtime/object.hpp"
#include "runtime/value_cast.hpp"

namespace Atoll {

/// Counts as one holder of an object of this interpreter.
class own_holder final : public reference_holder {
public:
  explicit own_holder(object& o) noexcept : object_(o) { retain(object_); }
  ~own_holder() override { release(object_); }

  object& held() const noexcept { return object_; }
  bool same_object(const reference_holder& other) const noexcept override {
    const auto* o = dynamic_cast<const own_holder*>(&other);
    return o != nullptr && &o->object_ == &object_;
  }
  std::string describe() const override { return object_.cls->name; }

private:
  object& object_;
};

class foreign_holder final : public reference_holder {
public:
  explicit foreign_holder(foreign_ref r) noexcept : ref_(std::move(r)) {}

  const foreign_ref& held() const noexcept { return ref_; }
  bool same_object(const reference_holder& other) const noexcept override {
    const auto* o = dynamic_cast<const foreign_holder*>(&other);
    return o != nullptr && o->ref_ == ref_;
  }
  std::string describe() const override { return ref_.describe(); }

private:
  foreign_ref ref_;
};

inline reference reference_to(object& o) { return reference(std::make_shared<own_holder>(o)); }

template <class T>
struct value_traits<handle<T>> {
  static std::string name() { return "object"; }
  static result<handle<T>> from(const value& v) {
    const reference* r = v.if_reference();
    const own_holder* own = r != nullptr ? r->as<own_holder>() : nullptr;
    if (own == nullptr) return wrong_type("object of this interpreter", v);
    if (handle<T> h = handle<T>::of(own->held())) return h;
    return wrong_type(own->held().cls->space->template class_of<T>().name, v);
  }
  static value to(const handle<T>& h) { return h ? value(reference_to(h.header())) : value(); }
};

template <>
struct value_traits<foreign_ref> {
  static std::string name() { return "reference to another interpreter's object"; }
  static result<foreign_ref> from(const value& v) {
    const reference* r = v.if_reference();
    if (r != nullptr)
      if (const auto* foreign = r->as<foreign_holder>()) return foreign->held();
    return wrong_type(name(), v);
  }
  static value to(foreign_ref r) {
    return r ? value(reference(std::make_shared<foreign_holder>(std::move(r)))) : value();
  }
};

} // namespace Atoll
