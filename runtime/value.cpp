#include "runtime/value.hpp"

#include <fmt/format.h>

#include <cmath>
#include <deque>
#include <set>
#include <unordered_map>

namespace Atoll {

// -- tables and their pool ---------------------------------------------------------------------------------------------

class table_pool : public std::enable_shared_from_this<table_pool> {
public:
  table_pool() = default;
  table_pool(const table_pool&) = delete;
  table_pool& operator=(const table_pool&) = delete;

  // Pools that only this one keeps are emptied before they go, so that a chain of pools ends in a loop.
  ~table_pool() {
    std::vector<std::shared_ptr<table_pool>> last;
    take_pools(last);
    while (!last.empty()) {
      const std::shared_ptr<table_pool> pool = std::move(last.back());
      last.pop_back();
      if (pool.use_count() == 1) pool->take_pools(last);
    }
  }

  table_node* add() {
    table_node& node = nodes_.emplace_back();
    node.pool = this;
    return &node;
  }

  static void take(value& v, std::vector<std::shared_ptr<table_pool>>& into) {
    auto* t = std::get_if<table>(&v.data_);
    if (t != nullptr && t->pool_ != nullptr) into.push_back(std::move(t->pool_));
  }

private:
  void take_pools(std::vector<std::shared_ptr<table_pool>>& into) {
    for (table_node& node : nodes_) {
      for (value& v : node.items) take(v, into);
      for (auto& [key, mapped] : node.pairs) {
        take(key, into);
        take(mapped, into);
      }
    }
  }

  std::deque<table_node> nodes_;
};

table::table() : pool_(std::make_shared<table_pool>()), node_(pool_->add()) {}
table::~table() = default;
table::table(std::shared_ptr<table_pool> pool, table_node* node) noexcept : pool_(std::move(pool)), node_(node) {}
table::table(const table& other)
    : pool_(other.pool_ ? other.pool_ : other.node_->pool->shared_from_this()), node_(other.node_) {}
table::table(table&& other) noexcept = default;
table& table::operator=(const table& other) { return *this = table(other); }
table& table::operator=(table&& other) noexcept = default;

table table::sibling() const {
  std::shared_ptr<table_pool> pool = node_->pool->shared_from_this();
  table_node* node = pool->add();
  return {std::move(pool), node};
}

value table::stored(value v) const {
  auto* t = std::get_if<table>(&v.data_);
  if (t != nullptr && t->node_->pool == node_->pool) t->pool_.reset();
  return v;
}

const value& table::get(const value& key) const {
  static const value nil;
  for (const auto& [k, mapped] : node_->pairs)
    if (k == key) return mapped;
  return nil;
}

void table::append(value item) { node_->items.push_back(stored(std::move(item))); }

void table::add_pair(value key, value mapped) {
  node_->pairs.emplace_back(stored(std::move(key)), stored(std::move(mapped)));
}

void table::set(value key, value mapped) {
  if (key.is_nil() || (key.if_number() != nullptr && std::isnan(*key.if_number()))) return;
  for (auto& [k, old] : node_->pairs) {
    if (!(k == key)) continue;
    old = stored(std::move(mapped));
    return;
  }
  add_pair(std::move(key), std::move(mapped));
}

void table::clear() noexcept {
  // Moved out first: what dies here may be the last to keep this very table.
  const auto items = std::move(node_->items);
  const auto pairs = std::move(node_->pairs);
  node_->items.clear();
  node_->pairs.clear();
}

// -- equality ----------------------------------------------------------------------------------------------------------

namespace {

bool same_number(double a, double b) noexcept { return a == b || (std::isnan(a) && std::isnan(b)); }

// Pairs of tables that must turn out equal. A pair once noted is taken for equal from then on, so cycles end.
class table_comparison {
public:
  void expect(const table& a, const table& b) {
    if (a.same(b) || !seen_.emplace(a.identity(), b.identity()).second) return;
    open_.emplace_back(a.identity(), b.identity());
  }

  bool holds() {
    while (!open_.empty()) {
      const auto [a, b] = open_.back();
      open_.pop_back();
      if (!compare(*a, *b)) return false;
    }
    return true;
  }

  // All but the inside of tables, which is put off.
  bool compare(const value& a, const value& b) {
    if (a.type() != b.type()) return false;
    switch (a.type()) {
    case value::kind::nil: return true;
    case value::kind::boolean: return *a.if_bool() == *b.if_bool();
    case value::kind::integer: return *a.if_integer() == *b.if_integer();
    case value::kind::number: return same_number(*a.if_number(), *b.if_number());
    case value::kind::string: return *a.if_string() == *b.if_string();
    case value::kind::table: expect(*a.if_table(), *b.if_table()); return true;
    case value::kind::reference: return *a.if_reference() == *b.if_reference();
    case value::kind::interpreter: return *a.if_interpreter() == *b.if_interpreter();
    case value::kind::channel: return *a.if_channel() == *b.if_channel();
    case value::kind::error:
      return a.if_error()->code == b.if_error()->code && a.if_error()->message == b.if_error()->message;
    case value::kind::buffer: return a.if_buffer()->same(*b.if_buffer());
    }
    return false;
  }

private:
  using pair = std::pair<value, value>;

  bool compare(const table_node& a, const table_node& b) {
    if (a.packed_class != b.packed_class || a.items.size() != b.items.size() || a.pairs.size() != b.pairs.size())
      return false;
    for (std::size_t i = 0; i < a.items.size(); ++i)
      if (!compare(a.items[i], b.items[i])) return false;
    std::size_t next_table_key = 0;
    for (std::size_t i = 0; i < a.pairs.size(); ++i) {
      const pair& p = a.pairs[i];
      const pair* q = p.first.if_table() != nullptr ? table_key(b, next_table_key) : plain_key(b, p.first, i);
      if (q == nullptr || !compare(p.first, q->first) || !compare(p.second, q->second)) return false;
    }
    return true;
  }

  static const pair* table_key(const table_node& n, std::size_t& from) {
    while (from < n.pairs.size())
      if (const pair& p = n.pairs[from++]; p.first.if_table() != nullptr) return &p;
    return nullptr;
  }

  // Looks first where the key stands when both tables were filled in the same order.
  const pair* plain_key(const table_node& n, const value& key, std::size_t guess) {
    for (std::size_t i = 0; i < n.pairs.size(); ++i) {
      const pair& p = n.pairs[(guess + i) % n.pairs.size()];
      if (p.first.if_table() == nullptr && compare(p.first, key)) return &p;
    }
    return nullptr;
  }

  std::set<std::pair<const table_node*, const table_node*>> seen_;
  std::vector<std::pair<const table_node*, const table_node*>> open_;
};

} // namespace

bool value::equal(const value& a, const value& b) {
  table_comparison c;
  return c.compare(a, b) && c.holds();
}

// -- for people --------------------------------------------------------------------------------------------------------

const char* name_of(value::kind kind) noexcept {
  switch (kind) {
  case value::kind::nil: return "nil";
  case value::kind::boolean: return "boolean";
  case value::kind::integer: return "integer";
  case value::kind::number: return "number";
  case value::kind::string: return "string";
  case value::kind::table: return "table";
  case value::kind::reference: return "reference";
  case value::kind::interpreter: return "interpreter";
  case value::kind::error: return "error";
  case value::kind::channel: return "channel";
  case value::kind::buffer: return "buffer";
  }
  return "unknown";
}

namespace {

constexpr std::size_t shown_bytes = 60;
constexpr std::size_t shown_entries = 20;
constexpr int shown_depth = 6;

class printer {
public:
  std::string take() { return std::move(out_); }

  void print(const value& v, int depth) {
    switch (v.type()) {
    case value::kind::nil: out_ += "nil"; break;
    case value::kind::boolean: out_ += *v.if_bool() ? "true" : "false"; break;
    case value::kind::integer: out_ += std::to_string(*v.if_integer()); break;
    case value::kind::number: print_number(*v.if_number()); break;
    case value::kind::string: print_string(*v.if_string()); break;
    case value::kind::table: print_table(*v.if_table(), depth); break;
    case value::kind::reference: out_ += fmt::format("<{}>", v.if_reference()->describe()); break;
    case value::kind::interpreter: out_ += fmt::format("<interpreter {}>", number(*v.if_interpreter())); break;
    case value::kind::channel: out_ += fmt::format("<channel {}>", v.if_channel()->number()); break;
    case value::kind::error: out_ += fmt::format("<{}: {}>", name_of(v.if_error()->code), v.if_error()->message); break;
    case value::kind::buffer: out_ += fmt::format("<{}>", v.if_buffer()->describe()); break;
    }
  }

private:
  void print_number(double d) {
    const std::string text = fmt::format("{}", d);
    out_ += text;
    if (std::isfinite(d) && text.find_first_of(".e") == std::string::npos) out_ += ".0";
  }

  void print_string(const std::string& s) {
    out_ += '"';
    for (const char c : s.substr(0, shown_bytes)) {
      if (c == '"' || c == '\\') {
        out_ += '\\';
        out_ += c;
      } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) {
        out_ += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
      } else {
        out_ += c;
      }
    }
    out_ += s.size() > shown_bytes ? fmt::format("\"... ({} bytes)", s.size()) : "\"";
  }

  void print_table(const table& t, int depth) {
    const auto [at, fresh] = numbers_.emplace(t.identity(), numbers_.size() + 1);
    if (!fresh) {
      out_ += fmt::format("<table {}>", at->second);
      return;
    }
    if (depth == shown_depth) {
      out_ += "{...}";
      return;
    }
    out_ += t.packed_class();
    out_ += '{';
    std::size_t shown = 0;
    for (const value& v : t.items()) {
      if (!separate(shown)) return;
      print(v, depth + 1);
    }
    for (const auto& [key, mapped] : t.pairs()) {
      if (!separate(shown)) return;
      out_ += '[';
      print(key, depth + 1);
      out_ += "] = ";
      print(mapped, depth + 1);
    }
    out_ += '}';
  }

  // Between entries; false when enough of them were shown, the table is then closed.
  bool separate(std::size_t& shown) {
    if (shown > 0) out_ += ", ";
    if (shown++ < shown_entries) return true;
    out_ += "...}";
    return false;
  }

  std::string out_;
  std::unordered_map<const table_node*, std::size_t> numbers_;
};

} // namespace

std::string to_string(const value& v) {
  printer p;
  p.print(v, 0);
  return p.take();
}

} // namespace Atoll
