// A wire writer into a vector, with a limit to run out of memory at.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string_view>
#include <vector>

#include "runtime/wire.hpp"

namespace Atoll::testing {

class wire_buffer final : public wire_writer {
public:
  explicit wire_buffer(std::size_t limit = std::numeric_limits<std::size_t>::max()) : limit_(limit) {}

  std::string_view bytes() { return {reinterpret_cast<const char*>(data()), size()}; }
  wire_reader reader() { return wire_reader(bytes()); }

protected:
  bool grow(std::size_t n) noexcept override {
    const std::size_t used = size();
    if (n > limit_ - used) return false;
    bytes_.resize(std::min(limit_, (used + n) * 2));
    set_buffer(bytes_.data(), used, bytes_.size());
    return true;
  }

private:
  std::size_t limit_;
  std::vector<std::uint8_t> bytes_;
};

} // namespace Atoll::testing
