// A value that crosses between interpreters, in its C++ form.
// Why: native interpreters and the host's threads read and build messages without a guest. Not a JSON library's type:
// tables may share subtables and contain themselves, and references are live things with a count.
// Ownership: tables that belong together live in one pool. A handle from outside keeps the pool; an edge from a table to
// another of the same pool owns nothing, so a decoded cycle does not keep itself alive. Copying such an edge makes an
// outside handle again. (A cycle the user ties through tables of different pools stays until clear() breaks it: make
// the second table with sibling().)
// Threads: owner only; one value may move to another thread with everything it reaches, if its references may.
// Invariants: (1) equality is structural and ends on cycles. (2) destruction never recurses through tables.
//             (3) a table's key is neither nil nor NaN.
#pragma once

#include <concepts>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "runtime/errors.hpp"
#include "runtime/ids.hpp"

namespace Atoll {

class value;
class table_pool;
struct table_node;

/// Integers proper: not bool, and not characters, which are text.
template <class T>
concept value_integer =
    std::integral<T> && !std::same_as<
        T,
        bool> && !std::same_as<T, char> && !std::same_as<T, wchar_t> && !std::same_as<T, char8_t> && !std::same_as<T, char16_t> && !std::same_as<T, char32_t>;

/// What keeps an object of some interpreter for a reference. Host threads and native interpreters have kinds of their own.
class reference_holder {
public:
  reference_holder() = default;
  reference_holder(const reference_holder&) = delete;
  reference_holder& operator=(const reference_holder&) = delete;
  virtual ~reference_holder() = default;

  virtual bool same_object(const reference_holder& other) const noexcept = 0;
  /// For errors and debugging: "account", "reference 3.7.1".
  virtual std::string describe() const = 0;
};

/// A reference to an object, own or foreign. Copies share one holder; the last one lets go.
class reference {
public:
  reference() = default;
  explicit reference(std::shared_ptr<const reference_holder> holder) noexcept : holder_(std::move(holder)) {}

  explicit operator bool() const noexcept { return holder_ != nullptr; }
  /// The holder if it is of this kind, else null.
  template <class Holder>
  const Holder* as() const noexcept {
    return dynamic_cast<const Holder*>(holder_.get());
  }
  std::string describe() const { return holder_ ? holder_->describe() : "released reference"; }

  friend bool operator==(const reference& a, const reference& b) noexcept {
    if (a.holder_ == b.holder_) return true;
    return a.holder_ && b.holder_ && a.holder_->same_object(*b.holder_);
  }

private:
  std::shared_ptr<const reference_holder> holder_;
};

/// What keeps a channel for a value (channels/channel_value.hpp).
class channel_holder {
public:
  channel_holder() = default;
  channel_holder(const channel_holder&) = delete;
  channel_holder& operator=(const channel_holder&) = delete;
  virtual ~channel_holder() = default;

  virtual channel_number number() const noexcept = 0;
  /// Numbers are a runtime's own: two runtimes have a channel 1 each.
  virtual bool same_channel(const channel_holder& other) const noexcept = 0;
};

/// A channel, of whatever items. Copies name the same channel; the last one lets go.
class any_channel {
public:
  any_channel() = default;
  explicit any_channel(std::shared_ptr<const channel_holder> holder) noexcept : holder_(std::move(holder)) {}

  explicit operator bool() const noexcept { return holder_ != nullptr; }
  /// The holder if it is of this kind, else null.
  template <class Holder>
  const Holder* as() const noexcept {
    return dynamic_cast<const Holder*>(holder_.get());
  }
  /// 0: none.
  channel_number number() const noexcept { return holder_ ? holder_->number() : 0; }

  friend bool operator==(const any_channel& a, const any_channel& b) noexcept {
    if (a.holder_ == b.holder_) return true;
    return a.holder_ && b.holder_ && a.holder_->same_channel(*b.holder_);
  }

private:
  std::shared_ptr<const channel_holder> holder_;
};

/// A part of shared memory (channels/buffer.hpp knows what it is).
class buffer_holder {
public:
  buffer_holder() = default;
  buffer_holder(const buffer_holder&) = delete;
  buffer_holder& operator=(const buffer_holder&) = delete;
  virtual ~buffer_holder() = default;

  virtual bool same(const buffer_holder& other) const noexcept = 0;
  /// "buffer 3 of interpreter 2 'w': 64 bytes".
  virtual std::string describe() const = 0;
};

/// A handle to a table: an array part and key-value pairs in order of insertion. Copies name the same table.
/// An object that crossed packed (a Lua class with __pack and __unpack) is here a table that has the class's name, and as
/// its items what __pack answered; sent on, it is an object of that class again.
class table {
public:
  table();
  ~table();
  table(const table& other);
  table(table&& other) noexcept;
  table& operator=(const table& other);
  table& operator=(table&& other) noexcept;

  /// A new table in this one's pool: the two may refer to each other without keeping each other alive.
  table sibling() const;

  /// Whose packed form this is; empty: a plain table.
  const std::string& packed_class() const noexcept;
  void set_packed_class(std::string name);

  const std::vector<value>& items() const noexcept;
  const std::vector<std::pair<value, value>>& pairs() const noexcept;
  std::size_t size() const noexcept;

  /// The value of a key among the pairs, nil when it has none. Linear: cast to a std::map for many look-ups.
  const value& get(const value& key) const;
  void append(value item);
  /// Replaces the key's value or adds the pair. A nil or NaN key is ignored.
  void set(value key, value mapped);
  /// As set, for a key the caller knows to be new.
  void add_pair(value key, value mapped);
  void clear() noexcept;

  bool same(const table& other) const noexcept { return node_ == other.node_; }
  /// Identity, for maps from tables to numbers.
  const table_node* identity() const noexcept { return node_; }

private:
  friend class table_pool;
  table(std::shared_ptr<table_pool> pool, table_node* node) noexcept;
  value stored(value v) const;

  std::shared_ptr<table_pool> pool_; // null: an edge inside the pool
  table_node* node_;
};

class value {
public:
  enum class kind : std::uint8_t {
    nil,
    boolean,
    integer,
    number,
    string,
    table,
    reference,
    interpreter,
    error,
    channel,
    buffer
  };

  value() = default;
  value(std::same_as<bool> auto b) : data_(static_cast<bool>(b)) {}
  /// Unsigned integers beyond int64 become floats, as a numeral of that size does in Lua.
  template <value_integer T>
  value(T i) : data_(static_cast<std::int64_t>(i)) {
    if (std::in_range<std::int64_t>(i)) return;
    data_ = static_cast<double>(i);
  }
  value(std::floating_point auto d) : data_(static_cast<double>(d)) {}
  value(std::string s) noexcept : data_(std::move(s)) {}
  value(std::string_view s) : data_(std::string(s)) {}
  value(const char* s) : data_(std::string(s)) {}
  value(Atoll::table t) noexcept : data_(std::move(t)) {}
  value(Atoll::reference r) noexcept : data_(std::move(r)) {}
  value(interpreter_id id) noexcept : data_(id) {}
  value(any_channel c) noexcept : data_(std::move(c)) {}
  value(std::shared_ptr<const buffer_holder> b) noexcept : data_(std::move(b)) {}
  value(Atoll::error e) : data_(std::make_shared<const Atoll::error>(std::move(e))) {}

  kind type() const noexcept { return static_cast<kind>(data_.index()); }
  bool is_nil() const noexcept { return type() == kind::nil; }

  // The content if it is of that kind, else null. No conversion: see value_cast.hpp.
  const bool* if_bool() const noexcept { return std::get_if<bool>(&data_); }
  const std::int64_t* if_integer() const noexcept { return std::get_if<std::int64_t>(&data_); }
  const double* if_number() const noexcept { return std::get_if<double>(&data_); }
  const std::string* if_string() const noexcept { return std::get_if<std::string>(&data_); }
  const Atoll::table* if_table() const noexcept { return std::get_if<Atoll::table>(&data_); }
  const Atoll::reference* if_reference() const noexcept { return std::get_if<Atoll::reference>(&data_); }
  const interpreter_id* if_interpreter() const noexcept { return std::get_if<interpreter_id>(&data_); }
  const any_channel* if_channel() const noexcept { return std::get_if<any_channel>(&data_); }
  const Atoll::error* if_error() const noexcept {
    const auto* e = std::get_if<std::shared_ptr<const Atoll::error>>(&data_);
    return e != nullptr ? e->get() : nullptr;
  }
  const buffer_holder* if_buffer() const noexcept {
    const auto* b = std::get_if<std::shared_ptr<const buffer_holder>>(&data_);
    return b != nullptr ? b->get() : nullptr;
  }

  /// Structural; kinds and packed classes differ means unequal (1 is not 1.0), NaN equals NaN, pairs have no order except that tables used
  /// as keys are compared in order of appearance. Errors are equal when code and message are.
  friend bool operator==(const value& a, const value& b) { return equal(a, b); }

private:
  friend class table;
  friend class table_pool;
  static bool equal(const value& a, const value& b);

  // In the order of kind.
  std::variant<std::monostate, bool, std::int64_t, double, std::string, Atoll::table, Atoll::reference, interpreter_id,
               std::shared_ptr<const Atoll::error>, any_channel, std::shared_ptr<const buffer_holder>>
      data_;
};

/// "nil", "integer", "table": as errors name what they got.
const char* name_of(value::kind kind) noexcept;

/// For people: tables are written out once and named where they appear again; long strings and tables are cut.
std::string to_string(const value& v);

struct table_node {
  table_pool* pool = nullptr;
  std::vector<value> items;
  std::vector<std::pair<value, value>> pairs;
  std::string packed_class;
};

inline const std::vector<value>& table::items() const noexcept { return node_->items; }
inline const std::vector<std::pair<value, value>>& table::pairs() const noexcept { return node_->pairs; }
inline const std::string& table::packed_class() const noexcept { return node_->packed_class; }
inline void table::set_packed_class(std::string name) { node_->packed_class = std::move(name); }
inline std::size_t table::size() const noexcept { return node_->items.size() + node_->pairs.size(); }

} // namespace Atoll
