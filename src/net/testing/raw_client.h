// A client for tests that says byte for byte what it is told, on a blocking socket.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace cohort::net::testing {

class RawClient {
 public:
  explicit RawClient(uint16_t port, int receive_buffer_bytes = 0);
  RawClient(const RawClient&) = delete;
  RawClient& operator=(const RawClient&) = delete;
  ~RawClient() { close(); }

  bool connected() const { return fd_ >= 0; }
  bool send(std::string_view bytes);  // false: the peer closed
  void shut_down_sending();
  void close();
  void reset();  // closes with a RST

  std::string read_until(
      std::string_view mark);  // what came up to and with the mark, or up to the end
  std::string read_all();      // up to the end
  // One response with Content-Length or chunks: the head and the decoded body.
  struct Response {
    int status = 0;
    std::string head;
    std::string body;
  };
  Response read_response();

 private:
  bool fill();
  std::string take(size_t size);

  int fd_ = -1;
  std::string buffer_;
};

}  // namespace cohort::net::testing
