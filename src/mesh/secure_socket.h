// TLS 1.3 between devices that hold the same key, without certificates.
#pragma once

#include <string>

#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>

#include "base/result.h"
#include "mesh/group_keys.h"
#include "net/task.h"

namespace cohort::mesh {

namespace asio = boost::asio;
using asio::ip::tcp;
using SecureSocket = asio::ssl::stream<tcp::socket>;

enum class Role { kDialer, kListener };

class SecureContexts {
 public:
  explicit SecureContexts(const GroupKeys& keys);
  SecureContexts(const SecureContexts&) = delete;
  SecureContexts& operator=(const SecureContexts&) = delete;

  asio::ssl::context& of(Role role) { return role == Role::kDialer ? dialer_ : listener_; }

  struct PreSharedKey {
    Key32 key;
    std::string identity;  // the namespace's tag
  };

 private:
  PreSharedKey key_;
  asio::ssl::context dialer_, listener_;
};

// The error says which of the two shared things differs, where that shows.
net::Task<Result<void>> secure(SecureSocket& socket, Role role);

// 32 bytes that both ends of this very connection know, and nobody else.
std::string channel_binding(SecureSocket& socket);

}  // namespace cohort::mesh
