// A hub on the loopback with the real one's addresses, and bad manners on demand. For tests.
#pragma once

#include <cstdint>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace cohort::hub::testing {

struct Request {
  std::string path;                            // with query
  std::map<std::string, std::string> headers;  // names in lower case
  std::optional<std::pair<uint64_t, uint64_t>> range;
};

struct Reply {
  int status = 200;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;
  std::optional<size_t> cut_after;    // bytes of the body, then the connection closes
  std::optional<size_t> stall_after;  // bytes of the body, then nothing until the server ends
};

class HubServer {
 public:
  HubServer();
  ~HubServer();
  HubServer(const HubServer&) = delete;

  std::string url() const;
  uint16_t port() const { return port_; }

  // Serves these files as the repository's: listing with checksums, and contents with ranges. Call before requests come.
  void add_repository(const std::string& repository, std::map<std::string, std::string> files);
  // Changes replies; called on the server's threads, one at a time.
  std::function<void(const Request&, Reply&)> meddle;

  std::vector<Request> requests() const;
  uint64_t sent_bytes() const;  // of bodies

 private:
  void accept_all();
  void serve(int socket);
  Reply reply_to(const Request& request);
  Reply listing(const std::string& repository) const;
  Reply contents(const std::string& content, const Request& request) const;
  bool send_body(int socket, const Reply& reply);

  int listener_ = -1;
  uint16_t port_ = 0;
  mutable std::mutex mutex_;  // guards all below
  std::condition_variable changed_;
  bool ending_ = false;
  std::map<std::string, std::map<std::string, std::string>> repositories_;
  std::vector<Request> requests_;
  uint64_t sent_bytes_ = 0;
  std::vector<int> sockets_;
  std::vector<std::thread> threads_;
  std::thread acceptor_;
};

std::string sha256_hex(const std::string& content);
std::string git_sha1_hex(const std::string& content);

}  // namespace cohort::hub::testing
