#include "actors/shell/sockets.hpp"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

namespace Atoll {

namespace {

using address_list = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

result<address_list> resolve(const std::string& address, int flags) {
  const auto colon = address.rfind(':');
  if (colon == std::string::npos)
    return fail(errc::invalid_argument, fmt::format("'{}' is no address: want host:port", address));
  std::string host = address.substr(0, colon);
  const std::string port = address.substr(colon + 1);
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  if (port.empty() || port.find_first_not_of("0123456789") != std::string::npos || port.size() > 5
      || std::stoi(port) > 65535)
    return fail(errc::invalid_argument, fmt::format("'{}': '{}' is no port (0 to 65535)", address, port));
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  hints.ai_flags = flags | AI_NUMERICSERV;
  addrinfo* found = nullptr;
  const int rc = getaddrinfo(host.empty() ? nullptr : host.c_str(), port.c_str(), &hints, &found);
  if (rc != 0) return fail(errc::address_unavailable, fmt::format("'{}': {}", address, gai_strerror(rc)));
  return address_list(found, &freeaddrinfo);
}

std::string to_text(const sockaddr_storage& a) {
  char text[INET6_ADDRSTRLEN] = {};
  if (a.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(a);
    inet_ntop(AF_INET, &v4.sin_addr, text, sizeof text);
    return fmt::format("{}:{}", text, ntohs(v4.sin_port));
  }
  const auto& v6 = reinterpret_cast<const sockaddr_in6&>(a);
  inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof text);
  return fmt::format("[{}]:{}", text, ntohs(v6.sin6_port));
}

bool wait_connected(int fd, int milliseconds) {
  pollfd p{fd, POLLOUT, 0};
  int rc = 0;
  do rc = poll(&p, 1, milliseconds);
  while (rc < 0 && errno == EINTR);
  if (rc == 0) errno = ETIMEDOUT;
  if (rc <= 0) return false;
  int failure = 0;
  socklen_t size = sizeof failure;
  getsockopt(fd, SOL_SOCKET, SO_ERROR, &failure, &size);
  errno = failure;
  return failure == 0;
}

} // namespace

std::string peer_of(int descriptor) {
  sockaddr_storage a{};
  socklen_t size = sizeof a;
  return getpeername(descriptor, reinterpret_cast<sockaddr*>(&a), &size) == 0 ? to_text(a) : std::string{};
}

void close_socket(int descriptor) noexcept { ::close(descriptor); }

result<opened_socket> listen_on(const std::string& address) {
  auto found = resolve(address, AI_PASSIVE);
  if (!found) return tl::unexpected(found.error());
  int reason = 0;
  for (const addrinfo* a = found->get(); a != nullptr; a = a->ai_next) {
    const int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol);
    const int on = 1;
    if (fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0
        && bind(fd, a->ai_addr, a->ai_addrlen) == 0 && ::listen(fd, SOMAXCONN) == 0) {
      sockaddr_storage bound{};
      socklen_t size = sizeof bound;
      getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &size);
      return opened_socket{fd, to_text(bound)};
    }
    reason = errno;
    if (fd >= 0) ::close(fd);
  }
  return fail(errc::address_unavailable,
              fmt::format("cannot listen on {}: {}", address, std::generic_category().message(reason)));
}

result<opened_socket> connect_to(const std::string& address, int milliseconds) {
  auto found = resolve(address, 0);
  if (!found) return tl::unexpected(found.error());
  int reason = 0;
  for (const addrinfo* a = found->get(); a != nullptr; a = a->ai_next) {
    const int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol);
    if (fd >= 0) {
      const int rc = ::connect(fd, a->ai_addr, a->ai_addrlen);
      if (rc == 0 || (errno == EINPROGRESS && wait_connected(fd, milliseconds))) return opened_socket{fd, peer_of(fd)};
    }
    reason = errno;
    if (fd >= 0) ::close(fd);
  }
  return fail(errc::address_unavailable,
              fmt::format("cannot connect to {}: {}", address, std::generic_category().message(reason)));
}

} // namespace Atoll
