// Sockets by address: listening and connecting, with errors that name the address and the reason.
// Threads: any; connect_to() blocks, so it has a thread of its own.
#pragma once

#include <string>

#include "runtime/errors.hpp"

namespace Atoll {

struct opened_socket {
  int descriptor = -1;
  std::string address; // where it is bound, or whom it is connected to: "127.0.0.1:7000", "[::1]:7000"
};

/// Listens on "address:port" ("[v6]:port"; port 0: any free one). The socket is non-blocking.
result<opened_socket> listen_on(const std::string& address);
/// Connects to "host:port" within `milliseconds`.
result<opened_socket> connect_to(const std::string& address, int milliseconds);
/// The peer of a connected socket, as "address:port"; empty when unknown.
std::string peer_of(int descriptor);

void close_socket(int descriptor) noexcept;

} // namespace Atoll
