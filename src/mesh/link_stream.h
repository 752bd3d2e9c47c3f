// One stream of a link. Each side grants the other kWindowBytes; every fragment costs its payload and its header, and the
// reader gives the credit back when it takes messages, or while it waits for the rest of a long one.
#pragma once

#include <cstdint>
#include <deque>
#include <string>

#include "mesh/frame.h"
#include "mesh/stream.h"

namespace cohort::mesh {

// What a stream needs of its link, which may end first.
class StreamCarrier {
 public:
  virtual void has_data(uint32_t stream) = 0;  // ask it for fragments
  virtual void send_frame(const Frame& frame) = 0;
  virtual void forget(uint32_t stream) = 0;

 protected:
  ~StreamCarrier() = default;
};

class LinkStream final : public Stream {
 public:
  struct Origin {
    uint32_t id = 0;
    std::string peer, purpose;
  };
  LinkStream(net::Executor executor, StreamCarrier& carrier, Origin origin);
  LinkStream(const LinkStream&) = delete;
  LinkStream& operator=(const LinkStream&) = delete;
  ~LinkStream() override;

  const std::string& peer() const override { return origin_.peer; }
  const std::string& purpose() const override { return origin_.purpose; }
  net::Task<Result<void>> write(std::string message, net::TimePoint deadline) override;
  net::Task<Result<std::optional<std::string>>> read(net::TimePoint deadline) override;
  void close() override;

  // For the link. Errors say what rule the peer broke.
  Result<void> on_data(std::string_view fragment, bool last);
  Result<void> on_credit(uint32_t size);
  void on_close();
  void end(std::string why);  // reset by the peer, or the link is gone
  // The next frame to send, as far as the peer's window allows; false when there is none.
  bool take_fragment(std::string& batch);

 private:
  struct Message {
    std::string bytes;
    size_t cost = 0;  // not given back yet
  };

  Result<void> writable() const;
  bool sending() const { return outgoing_ != nullptr; }
  net::Task<Result<void>> wait_for_turn(net::TimePoint deadline);
  void abandon_write();
  void give_back(size_t& cost);
  void leave(FrameType goodbye, std::string_view why);

  StreamCarrier* carrier_;  // null: closed here, or the link is gone
  const Origin origin_;
  std::string why_;  // it ended, unless closed in good order

  std::deque<Message> incoming_;
  Message partial_;
  bool peer_closed_ = false;
  bool reading_ = false;
  size_t receive_window_ = kWindowBytes;
  size_t owed_ = 0;  // credit to give back
  net::Notification readable_;

  const std::string* outgoing_ = nullptr;  // in the frame of write()
  size_t sent_ = 0;                        // of outgoing_
  size_t send_window_ = kWindowBytes;
  net::Notification written_;
};

}  // namespace cohort::mesh
