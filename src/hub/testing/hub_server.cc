#include "hub/testing/hub_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <sstream>

#include <fmt/format.h>
#include <openssl/evp.h>

#include "base/check.h"
#include "base/json.h"

namespace cohort::hub::testing {
namespace {

constexpr size_t kLargeFile = 1024;  // from here on a file has a SHA-256, as LFS files have
constexpr size_t kSendBytes = 16 << 10;

std::string digest_hex(const EVP_MD* kind, const std::string& content) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  EVP_Digest(content.data(), content.size(), digest, &size, kind, nullptr);
  std::string text;
  for (unsigned i = 0; i < size; ++i) text += fmt::format("{:02x}", digest[i]);
  return text;
}

std::optional<Request> read_request(int socket, std::string& buffer) {
  char block[4096];
  size_t end = buffer.find("\r\n\r\n");
  while (end == std::string::npos) {
    const ssize_t got = recv(socket, block, sizeof(block), 0);
    if (got <= 0) return std::nullopt;
    buffer.append(block, static_cast<size_t>(got));
    end = buffer.find("\r\n\r\n");
  }
  std::istringstream head(buffer.substr(0, end));
  buffer.erase(0, end + 4);
  Request request;
  std::string method, line;
  head >> method >> request.path;
  std::getline(head, line);
  while (std::getline(head, line)) {
    if (line.ends_with('\r')) line.pop_back();
    const size_t colon = line.find(':');
    std::string name = line.substr(0, colon);
    std::transform(name.begin(), name.end(), name.begin(),
                   [](unsigned char c) { return std::tolower(c); });
    request.headers[name] =
        colon == std::string::npos ? "" : line.substr(std::min(colon + 2, line.size()));
  }
  unsigned long long first = 0, last = 0;
  if (std::sscanf(request.headers["range"].c_str(), "bytes=%llu-%llu", &first, &last) == 2) {
    request.range = {first, last};
  }
  return request;
}

}  // namespace

std::string sha256_hex(const std::string& content) { return digest_hex(EVP_sha256(), content); }
std::string git_sha1_hex(const std::string& content) {
  return digest_hex(EVP_sha1(),
                    "blob " + std::to_string(content.size()) + std::string(1, '\0') + content);
}

HubServer::HubServer() {
  listener_ = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  COHORT_CHECK(bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0);
  COHORT_CHECK(listen(listener_, 64) == 0);
  socklen_t size = sizeof(address);
  getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size);
  port_ = ntohs(address.sin_port);
  acceptor_ = std::thread([this] { accept_all(); });
}

HubServer::~HubServer() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
    for (const int socket : sockets_) shutdown(socket, SHUT_RDWR);
    changed_.notify_all();
  }
  shutdown(listener_, SHUT_RDWR);
  acceptor_.join();
  for (std::thread& thread : threads_) thread.join();
  for (const int socket : sockets_) close(socket);
  close(listener_);
}

std::string HubServer::url() const { return fmt::format("http://127.0.0.1:{}", port_); }

void HubServer::add_repository(const std::string& repository,
                               std::map<std::string, std::string> files) {
  const std::lock_guard lock(mutex_);
  repositories_[repository] = std::move(files);
}

std::vector<Request> HubServer::requests() const {
  const std::lock_guard lock(mutex_);
  return requests_;
}

uint64_t HubServer::sent_bytes() const {
  const std::lock_guard lock(mutex_);
  return sent_bytes_;
}

void HubServer::accept_all() {
  while (true) {
    const int socket = accept(listener_, nullptr, nullptr);
    const std::lock_guard lock(mutex_);
    if (socket < 0 || ending_) {
      if (socket >= 0) close(socket);
      return;
    }
    sockets_.push_back(socket);
    threads_.emplace_back([this, socket] {
      serve(socket);
      shutdown(socket, SHUT_RDWR);
    });
  }
}

void HubServer::serve(int socket) {
  std::string buffer;
  while (const auto request = read_request(socket, buffer)) {
    Reply reply;
    {
      const std::lock_guard lock(mutex_);
      requests_.push_back(*request);
      reply = reply_to(*request);
      if (meddle) meddle(*request, reply);
    }
    std::string head =
        fmt::format("HTTP/1.1 {} X\r\nContent-Length: {}\r\n", reply.status, reply.body.size());
    for (const auto& [name, value] : reply.headers) head += name + ": " + value + "\r\n";
    head += "\r\n";
    if (send(socket, head.data(), head.size(), MSG_NOSIGNAL) < 0 || !send_body(socket, reply))
      return;
  }
}

bool HubServer::send_body(int socket, const Reply& reply) {
  const size_t end = std::min({reply.body.size(), reply.cut_after.value_or(SIZE_MAX),
                               reply.stall_after.value_or(SIZE_MAX)});
  for (size_t at = 0; at < end;) {
    const ssize_t sent =
        send(socket, reply.body.data() + at, std::min(kSendBytes, end - at), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    at += static_cast<size_t>(sent);
    const std::lock_guard lock(mutex_);
    sent_bytes_ += static_cast<uint64_t>(sent);
  }
  if (reply.stall_after) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return ending_; });
  }
  return end == reply.body.size();
}

Reply HubServer::reply_to(const Request& request) {
  for (const auto& [repository, files] : repositories_) {
    if (request.path.starts_with("/api/models/" + repository + "/tree/main"))
      return listing(repository);
    for (const auto& [name, content] : files) {
      if (request.path == "/" + repository + "/resolve/main/" + name)
        return contents(content, request);
    }
  }
  return {.status = 404, .body = "{}"};
}

Reply HubServer::listing(const std::string& repository) const {
  Json list = Json::array();
  list.push_back(
      {{"type", "directory"}, {"path", "more"}, {"oid", std::string(40, '0')}, {"size", 0}});
  for (const auto& [name, content] : repositories_.at(repository)) {
    Json file = {
        {"type", "file"}, {"path", name}, {"oid", git_sha1_hex(content)}, {"size", content.size()}};
    if (content.size() >= kLargeFile) {
      file["lfs"] = {{"oid", sha256_hex(content)}, {"size", content.size()}, {"pointerSize", 130}};
    }
    list.push_back(std::move(file));
  }
  return {.headers = {{"Content-Type", "application/json"}}, .body = list.dump()};
}

Reply HubServer::contents(const std::string& content, const Request& request) const {
  if (!request.range) return {.body = content};
  const auto [first, last] = *request.range;
  if (first >= content.size() || last < first) return {.status = 416};
  const size_t end = std::min<size_t>(last + 1, content.size());
  return {
      .status = 206,
      .headers = {{"Content-Range", fmt::format("bytes {}-{}/{}", first, end - 1, content.size())}},
      .body = content.substr(first, end - first)};
}

}  // namespace cohort::hub::testing
