#include "mesh/listener.h"

#include <utility>
#include <vector>

#include <boost/asio/ip/v6_only.hpp>

#include "base/tcp_congestion.h"

namespace cohort::mesh {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using boost::system::error_code;

constexpr int kPortsToTry = 64;
constexpr int kBacklog = 128;

Result<std::vector<asio::ip::address>> addresses_of(net::Executor executor,
                                                    const std::string& host) {
  if (host.empty()) return std::vector<asio::ip::address>{asio::ip::address_v6::any()};
  tcp::resolver resolver(std::move(executor));
  error_code error;
  const auto found = resolver.resolve(host, "", tcp::resolver::passive, error);
  if (error)
    return fail(Code::kInvalidArgument, "cannot resolve host '{}': {}", host, error.message());
  std::vector<asio::ip::address> addresses;
  for (const auto& entry : found) addresses.push_back(entry.endpoint().address());
  return addresses;
}

tcp::acceptor bind_one(net::Executor executor, const tcp::endpoint& endpoint, error_code& error) {
  tcp::acceptor acceptor(std::move(executor));
  acceptor.open(endpoint.protocol(), error);
  if (!error) avoid_paced_sending(acceptor.native_handle());
  if (!error) acceptor.set_option(asio::socket_base::reuse_address(true), error);
  if (!error && endpoint.address().is_v6())
    acceptor.set_option(asio::ip::v6_only(!endpoint.address().is_unspecified()), error);
  if (!error) acceptor.bind(endpoint, error);
  if (!error) acceptor.listen(kBacklog, error);
  return acceptor;
}

// All addresses on one port. An address this machine lacks is left out when another works.
Result<ListeningPort> listen_on(net::Executor executor,
                                const std::vector<asio::ip::address>& addresses, uint16_t port) {
  ListeningPort listening{.port = port};
  error_code last;
  for (const asio::ip::address& address : addresses) {
    error_code error;
    tcp::acceptor acceptor = bind_one(executor, {address, listening.port}, error);
    if (error && address == asio::ip::address_v6::any() && error != asio::error::address_in_use)
      acceptor = bind_one(executor, {tcp::v4(), listening.port}, error);  // IPv6 is off
    if (error == asio::error::address_in_use)
      return fail(Code::kUnavailable, "port {} is taken", port);
    if (error) {
      last = error;
      continue;
    }
    listening.port = acceptor.local_endpoint(error).port();
    listening.acceptors.push_back(std::move(acceptor));
  }
  if (listening.acceptors.empty())
    return fail(Code::kInvalidArgument, "cannot listen on port {}: {}", port, last.message());
  return listening;
}

}  // namespace

Result<ListeningPort> listen_near(net::Executor executor, const std::string& host, uint16_t port) {
  COHORT_TRY(const auto addresses, addresses_of(executor, host));
  Result<ListeningPort> listening = listen_on(executor, addresses, port);
  for (int i = 1; i < kPortsToTry && port + i <= UINT16_MAX; ++i) {
    if (listening || listening.error().code != Code::kUnavailable) return listening;
    listening = listen_on(executor, addresses, static_cast<uint16_t>(port + i));
  }
  if (listening) return listening;
  return fail(listening.error().code, "no mesh port is free: {}", listening.error().message);
}

}  // namespace cohort::mesh
