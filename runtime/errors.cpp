#include "runtime/errors.hpp"

#include <fmt/format.h>

#include <array>

namespace Atoll {

namespace {

struct row {
  errc code;
  const char* name;
};

constexpr std::array rows = {
    row{errc::ok, "ok"},
    row{errc::guest_error, "guest_error"},
    row{errc::load_error, "load_error"},
    row{errc::unknown_function, "unknown_function"},
    row{errc::interpreter_gone, "interpreter_gone"},
    row{errc::no_such_interpreter, "no_such_interpreter"},
    row{errc::reference_released, "reference_released"},
    row{errc::not_shareable, "not_shareable"},
    row{errc::mailbox_full, "mailbox_full"},
    row{errc::timeout, "timeout"},
    row{errc::out_of_memory, "out_of_memory"},
    row{errc::interrupted, "interrupted"},
    row{errc::killed, "killed"},
    row{errc::runtime_finalizing, "runtime_finalizing"},
    row{errc::runtime_finalized, "runtime_finalized"},
    row{errc::invalid_argument, "invalid_argument"},
    row{errc::name_taken, "name_taken"},
    row{errc::address_unavailable, "address_unavailable"},
    row{errc::connection_closed, "connection_closed"},
    row{errc::bad_message, "bad_message"},
    row{errc::forked, "forked"},
    row{errc::channel_closed, "channel_closed"},
    row{errc::channel_full, "channel_full"},
    row{errc::buffer_moved, "buffer_moved"},
    row{errc::read_only, "read_only"},
    row{errc::deadlock, "deadlock"},
    row{errc::cpu_limit, "cpu_limit"},
    row{errc::limit_reached, "limit_reached"},
};

class category final : public std::error_category {
public:
  const char* name() const noexcept override { return "atoll"; }
  std::string message(int code) const override { return name_of(static_cast<errc>(code)); }
};

} // namespace

const std::error_category& error_category() noexcept {
  static const category the_category;
  return the_category;
}

std::error_code make_error_code(errc code) noexcept { return {static_cast<int>(code), error_category()}; }

const char* name_of(errc code) noexcept {
  for (const row& r : rows)
    if (r.code == code) return r.name;
  return "unknown";
}

errc errc_of(std::string_view name) noexcept {
  for (const row& r : rows)
    if (name == r.name) return r.code;
  return errc::guest_error;
}

std::string number_and_name(interpreter_id who, std::string_view name) {
  return name.empty() ? fmt::format("{}", number(who)) : fmt::format("{} '{}'", number(who), name);
}

} // namespace Atoll
