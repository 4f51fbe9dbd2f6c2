// The lines that can run, read from a dumped chunk.
// Why: Lua names a function's lines only for a function there is; one that was never made has lines too. A dump holds
// them all. Its format is that of Lua 5.4 (ldump.c, ldebug.c); anything else is refused.
#include <cstring>
#include <string_view>
#include <vector>

#include "guests/lua/coverage.hpp"

namespace Atoll {

namespace {

constexpr int absolute = -0x80; // in a line table: see the absolute entries
constexpr int deepest = 200;    // functions in functions, as Lua's own limit of C levels

class dump_reader {
public:
  dump_reader(std::string_view bytes, void (*take)(void*, int), void* to) : left_(bytes), take_(take), to_(to) {}

  bool read() {
    const std::string_view head = bytes(6);
    if (head != std::string_view("\x1bLua\x54\x00", 6)) return false;
    bytes(6); // conversion check
    instruction_ = byte();
    integer_ = byte();
    number_ = byte();
    bytes(integer_ + number_);
    byte(); // upvalues of the chunk
    function(0);
    return ok_ && left_.empty();
  }

private:
  std::string_view bytes(std::size_t n) {
    if (n > left_.size()) {
      ok_ = false;
      left_ = {};
      return {};
    }
    const std::string_view taken = left_.substr(0, n);
    left_.remove_prefix(n);
    return taken;
  }
  unsigned byte() {
    const std::string_view b = bytes(1);
    return b.empty() ? 0 : static_cast<unsigned char>(b[0]);
  }
  std::size_t size() {
    std::size_t n = 0;
    for (int i = 0; i < 10 && ok_; ++i) {
      const unsigned b = byte();
      n = n << 7U | (b & 0x7fU);
      if ((b & 0x80U) != 0) return n;
    }
    ok_ = false;
    return 0;
  }
  int integer() { return static_cast<int>(size()); }
  void string() {
    if (const std::size_t n = size(); n > 0) bytes(n - 1);
  }

  void constant() {
    switch (byte()) {
    case 0x00:         // nil
    case 0x01:         // false
    case 0x11: return; // true
    case 0x03: bytes(integer_); return;
    case 0x13: bytes(number_); return;
    case 0x04:
    case 0x14: string(); return;
    default: ok_ = false;
    }
  }

  void function(int depth) {
    if (depth > deepest) ok_ = false;
    string(); // source
    const int defined = integer();
    integer(); // last line
    byte();    // parameters
    const bool vararg = byte() != 0;
    byte(); // stack
    bytes(size() * instruction_);
    for (std::size_t n = size(); n > 0 && ok_; --n) constant();
    bytes(size() * 3); // upvalues
    for (std::size_t n = size(); n > 0 && ok_; --n) function(depth + 1);
    lines(defined, vararg);
    for (std::size_t n = size(); n > 0 && ok_; --n) { // local variables
      string();
      integer();
      integer();
    }
    for (std::size_t n = size(); n > 0 && ok_; --n) string(); // upvalue names
  }

  /// Steps from one instruction to the next, with absolute lines where a step would be too large.
  void lines(int defined, bool vararg) {
    const std::string_view steps = bytes(size());
    std::vector<int> lines;
    std::vector<std::size_t> unknown;
    for (std::size_t n = size(); n > 0 && ok_; --n) {
      unknown.push_back(size());
      lines.push_back(integer());
    }
    int line = defined;
    std::size_t next = 0;
    for (std::size_t pc = 0; pc < steps.size() && ok_; ++pc) {
      const auto byte = static_cast<unsigned char>(steps[pc]);
      const int step = byte < 128 ? byte : byte - 256; // signed
      if (next < unknown.size() && unknown[next] == pc) {
        line = lines[next++];
      } else if (step == absolute) {
        ok_ = false;
      } else {
        line += step;
      }
      if (pc > 0 || !vararg) take_(to_, line); // the first instruction of a vararg function is no line's
    }
  }

  std::string_view left_;
  void (*const take_)(void*, int);
  void* const to_;
  bool ok_ = true;
  unsigned instruction_ = 0;
  unsigned integer_ = 0;
  unsigned number_ = 0;
};

} // namespace

bool lines_of_dump(std::string_view dump, void (*take)(void* to, int line), void* to) {
  return dump_reader(dump, take, to).read();
}

} // namespace Atoll
