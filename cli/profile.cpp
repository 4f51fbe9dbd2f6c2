#include "cli/profile.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>
#include <vector>

namespace Atoll::cli {

std::string to_folded(const stack_counts::map& stacks) {
  std::string text;
  for (const auto& [stack, samples] : stacks) fmt::format_to(std::back_inserter(text), "{} {}\n", stack, samples);
  return text;
}

namespace {

constexpr double width = 1200;
constexpr int row = 17;      // pixels of a frame's height
constexpr int head = 40;     // above the graph
constexpr double letter = 7; // pixels of a character's width, at most

/// A frame with all that was called from it; the same stacks share their frames.
struct frame {
  std::string_view name;
  std::uint64_t samples = 0;
  std::vector<std::size_t> callees; // in order of names
};

struct tree {
  std::vector<frame> frames{1}; // the first one is the whole run
  std::size_t depth = 0;
};

tree grow(const stack_counts::map& stacks) {
  tree t;
  t.frames[0].name = "all";
  for (const auto& [stack, samples] : stacks) {
    std::size_t at = 0;
    std::size_t depth = 0;
    t.frames[at].samples += samples;
    for (std::size_t begin = 0; begin <= stack.size(); ++depth) {
      const std::size_t end = std::min(stack.find(';', begin), stack.size());
      const std::string_view name = std::string_view(stack).substr(begin, end - begin);
      begin = end + 1;
      const auto& callees = t.frames[at].callees;
      const auto known =
          std::find_if(callees.begin(), callees.end(), [&](std::size_t i) { return t.frames[i].name == name; });
      std::size_t next = t.frames.size();
      if (known != callees.end()) {
        next = *known;
      } else {
        t.frames[at].callees.push_back(next);
        t.frames.push_back({name, 0, {}});
      }
      at = next;
      t.frames[at].samples += samples;
    }
    t.depth = std::max(t.depth, depth);
  }
  return t;
}

/// Whether a UTF-8 sequence of 2 to 4 bytes stands for a character of XML: not a shorter one's, a surrogate, U+FFFE, U+FFFF.
bool is_xml_character(std::string_view bytes) {
  std::uint32_t c = static_cast<unsigned char>(bytes[0]) & (0x7fU >> bytes.size());
  for (std::size_t k = 1; k < bytes.size(); ++k) {
    if ((static_cast<unsigned char>(bytes[k]) & 0xc0U) != 0x80) return false;
    c = c << 6U | (static_cast<unsigned char>(bytes[k]) & 0x3fU);
  }
  constexpr std::uint32_t smallest[] = {0x80, 0x800, 0x10000};
  return c >= smallest[bytes.size() - 2] && c <= 0x10ffff && (c < 0xd800 || c > 0xdfff) && c != 0xfffe && c != 0xffff;
}

/// As text in XML. Bytes that are no UTF-8 would make the picture unreadable: they become question marks.
std::string escaped(std::string_view text) {
  std::string s;
  for (std::size_t i = 0; i < text.size();) {
    const auto c = static_cast<unsigned char>(text[i]);
    const std::size_t more = c < 0x80                ? 0
                             : c >= 0xc2 && c < 0xe0 ? 1
                             : c >= 0xe0 && c < 0xf0 ? 2
                             : c >= 0xf0 && c < 0xf5 ? 3
                                                     : 4;
    const bool whole = more < 4 && i + more < text.size() && (more == 0 || is_xml_character(text.substr(i, more + 1)));
    if (c == '&') {
      s += "&amp;";
    } else if (c == '<') {
      s += "&lt;";
    } else if (c == '>') {
      s += "&gt;";
    } else if (c == '"') {
      s += "&quot;";
    } else if (!whole || c < ' ' || c == 0x7f) {
      s += '?';
    } else {
      s += text.substr(i, more + 1);
    }
    i += whole ? more + 1 : 1;
  }
  return s;
}

/// The first characters of a name, as many as there is room for; the start of a UTF-8 character is not parted from its end.
std::string_view fitting(std::string_view name, double pixels) {
  auto n = static_cast<std::size_t>(std::max(0.0, (pixels - 6) / letter));
  if (n < 3) return {};
  if (n >= name.size()) return name;
  while (n > 0 && (static_cast<unsigned char>(name[n]) & 0xc0U) == 0x80) --n;
  return name.substr(0, n);
}

/// Warm colours, the same for the same name.
std::string colour(std::string_view name) {
  std::uint32_t hash = 2166136261U;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619U;
  return fmt::format("rgb({},{},{})", 205 + hash % 50, 90 + (hash >> 8U) % 120, 40 + (hash >> 16U) % 40);
}

void draw(std::string& to, const tree& t, std::size_t root) {
  struct place {
    std::size_t which;
    double x;
    std::size_t level;
  };
  const double per_sample = width / static_cast<double>(std::max<std::uint64_t>(1, t.frames[root].samples));
  std::vector<place> todo{{root, 0, 0}}; // a stack may be deep: no recursion
  while (!todo.empty()) {
    const place p = todo.back();
    todo.pop_back();
    const frame& f = t.frames[p.which];
    const double w = static_cast<double>(f.samples) * per_sample;
    const auto y = static_cast<double>(head) + static_cast<double>(t.depth - p.level) * row;
    fmt::format_to(std::back_inserter(to),
                   "<g><title>{0} ({1} samples, {2:.1f}%)</title><rect x=\"{3:.2f}\" y=\"{4}\" width=\"{5:.2f}\" "
                   "height=\"{6}\" fill=\"{7}\"/><text x=\"{8:.2f}\" y=\"{9}\">{10}</text></g>\n",
                   escaped(f.name), f.samples, 100 * w / width, p.x, y, w, row - 1, colour(f.name), p.x + 3, y + 12,
                   escaped(fitting(f.name, w)));
    double x = p.x;
    for (const std::size_t callee : f.callees) {
      todo.push_back({callee, x, p.level + 1});
      x += static_cast<double>(t.frames[callee].samples) * per_sample;
    }
  }
}

} // namespace

std::string to_flame_graph(const stack_counts::map& stacks) {
  const tree t = grow(stacks);
  const std::size_t height = head + (t.depth + 1) * row + 10;
  std::string text =
      fmt::format("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
                  "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{0}\" height=\"{1}\" viewBox=\"0 0 {0} {1}\" "
                  "font-family=\"monospace\" font-size=\"11\">\n"
                  "<rect width=\"100%\" height=\"100%\" fill=\"#fffdf5\"/>\n"
                  "<text x=\"{2}\" y=\"24\" text-anchor=\"middle\" font-size=\"15\">{3} samples; point at a box for "
                  "its name</text>\n",
                  width, height, width / 2, t.frames[0].samples);
  draw(text, t, 0);
  return text + "</svg>\n";
}

std::string to_lcov(const line_counts::map& lines) {
  std::string text;
  for (auto line = lines.begin(); line != lines.end();) {
    const std::string& file = line->first.first;
    std::size_t found = 0;
    std::size_t hit = 0;
    fmt::format_to(std::back_inserter(text), "TN:\nSF:{}\n", file);
    for (; line != lines.end() && line->first.first == file; ++line) {
      ++found;
      if (line->second > 0) ++hit;
      fmt::format_to(std::back_inserter(text), "DA:{},{}\n", line->first.second, line->second);
    }
    fmt::format_to(std::back_inserter(text), "LF:{}\nLH:{}\nend_of_record\n", found, hit);
  }
  return text;
}

} // namespace Atoll::cli
