// Random graphs of C++ values, and references that are numbers, for tests of the encoding.
// Threads: one.
#pragma once

#include <bit>
#include <cmath>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "runtime/value.hpp"
#include "runtime/value_codec.hpp"

namespace Atoll::testing {

// Objects are numbers here; how many references are alive is counted.
struct number_holder final : reference_holder {
  number_holder(std::uint32_t n, int& alive) : object(n), alive_(alive) { ++alive_; }
  ~number_holder() override { --alive_; }
  bool same_object(const reference_holder& other) const noexcept override {
    const auto* o = dynamic_cast<const number_holder*>(&other);
    return o != nullptr && o->object == object;
  }
  std::string describe() const override { return "object " + std::to_string(object); }

  std::uint32_t object;

private:
  int& alive_;
};

/// A buffer that is a number. 13 cannot cross; of what arrives 14 cannot be taken.
struct number_buffer final : buffer_holder {
  explicit number_buffer(std::uint64_t n) : number(n) {}
  bool same(const buffer_holder& other) const noexcept override {
    return dynamic_cast<const number_buffer&>(other).number == number;
  }
  std::string describe() const override { return "buffer " + std::to_string(number); }
  std::uint64_t number;
};
inline value buffer_value(std::uint64_t n) { return value(std::make_shared<const number_buffer>(n)); }

struct number_codec final : reference_codec {
  int buffers_taken = 0;
  result<void> put_buffer(wire_writer& out, const buffer_holder& b) override {
    const std::uint64_t n = dynamic_cast<const number_buffer&>(b).number;
    if (n == 13) return fail(errc::buffer_moved, "buffer 13 was moved");
    out.put_slice({n, 0, 1, false, false});
    return {};
  }
  result<value> get_buffer(const wire_slice& s) override {
    ++buffers_taken;
    if (s.block == 14) return fail(errc::out_of_memory, "buffer 14 does not fit");
    return buffer_value(s.block);
  }
  int alive = 0;
  int taken = 0;
  int refused_connections = 0;

  reference make(std::uint32_t n) { return reference(std::make_shared<number_holder>(n, alive)); }
  bool put(wire_writer& out, const reference& r) override {
    const auto* held = r.as<number_holder>();
    if (held == nullptr) return false;
    out.put_reference({{interpreter_id{2}, held->object, 1}, 1, {}});
    return true;
  }
  reference get(const wire_ref& r) override {
    ++taken;
    return r.id.generation == 1 ? make(r.id.slot) : reference();
  }
  void refuse_connection(std::uint64_t) override { ++refused_connections; }
};

/// Tables that share, contain themselves and nest, packed objects that contain tables made before them, and every scalar.
class random_graph {
public:
  random_graph(std::mt19937_64& random, number_codec& codec) : random_(random), codec_(codec) {
    const std::size_t tables = 1 + below(8);
    for (std::size_t i = 0; i < tables; ++i) tables_.push_back(tables_.empty() ? table() : tables_.front().sibling());
    make_packed();
    for (table& t : tables_) fill(t);
  }

  std::vector<value> take(std::size_t n) {
    std::vector<value> values;
    for (std::size_t i = 0; i < n; ++i) values.push_back(any());
    return values;
  }

  std::size_t below(std::size_t n) { return random_() % n; }

private:
  void fill(table& t) {
    for (std::size_t n = below(6); n > 0; --n) t.append(any());
    for (std::size_t n = below(6); n > 0; --n) t.set(any(), any());
  }

  // The second contains the first; both, twice, a table that contains itself. Nothing leads back to them.
  void make_packed() {
    table inside = tables_.front().sibling();
    inside.append(scalar());
    inside.set(text(), inside);
    for (int i = 0; i < 2; ++i) {
      table t = tables_.front().sibling();
      t.set_packed_class(text());
      for (std::size_t n = below(4); n > 0; --n) t.append(scalar());
      if (!packed_.empty()) t.append(packed_.front());
      t.append(inside);
      t.append(inside);
      packed_.push_back(t);
    }
  }

  value any() {
    switch (below(8)) {
    case 0: return packed_[below(packed_.size())];
    case 1:
    case 2: return tables_[below(tables_.size())];
    default: return scalar();
    }
  }

  value scalar() {
    using integers = std::numeric_limits<std::int64_t>;
    using floats = std::numeric_limits<double>;
    static const std::vector<value> edges{
        integers::min(),     integers::max(),      -33,          96, 0.0, -0.0, floats::infinity(), -floats::infinity(),
        floats::quiet_NaN(), floats::denorm_min(), std::string()};
    switch (below(9)) {
    case 0: return {};
    case 1: return below(2) == 0;
    case 2: return static_cast<std::int64_t>(random_());
    case 3: return static_cast<std::int64_t>(below(300)) - 100;
    case 4: return std::bit_cast<double>(random_());
    case 5: return text();
    case 6: return codec_.make(static_cast<std::uint32_t>(below(5)));
    case 7: return interpreter_id{below(9)};
    default: return edges[below(edges.size())];
    }
  }

  std::string text() {
    std::string s(1 + below(130), static_cast<char>(random_()));
    s[below(s.size())] = static_cast<char>(random_());
    return s;
  }

  std::mt19937_64& random_;
  number_codec& codec_;
  std::vector<table> tables_;
  std::vector<table> packed_;
};

} // namespace Atoll::testing
