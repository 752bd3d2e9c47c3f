// A link over frame ports, beside the link that connects both ends already and goes on to say who leaves, gives up or
// dies. Over ports that do not work alone a caretaker thread looks after the link while its owner is away, so that what
// was sent arrives, or is sent again, although the owner computes; and silence means death.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "transport/link.h"
#include "transport/frames/alarm.h"
#include "transport/frames/courier.h"
#include "transport/frames/frame_port.h"

namespace cohort::transport {

class FrameLink final : public Link {
 public:
  struct Parts {
    std::unique_ptr<Link> control;
    FrameMemory memory;
    std::vector<std::unique_ptr<FramePort>> rails;  // every receive slot posted
    uint32_t session = 1;
    Alarm alarm;
    std::string_view transport;  // its name; of static storage
  };
  explicit FrameLink(Parts parts);
  ~FrameLink() override;

  const std::string& peer() const override { return control_->peer(); }
  std::string_view transport() const override { return transport_; }
  Result<bool> try_send(const OutMessage& message) override;
  Result<std::optional<InMessage>> try_receive() override;
  void release() override;
  Result<void> check() override;
  std::optional<pollfd> arm(Interest interest) override;
  void disarm() override;
  void abort(std::string_view reason) override;

 private:
  using Clock = std::chrono::steady_clock;

  bool is_reliable() const { return rails_.front()->is_reliable(); }
  tl::unexpected<Error> broken(Error error);
  tl::unexpected<Error> ended(Error error);
  Result<void> check_control();
  pollfd sleeper(Interest interest, Courier::Time now);
  void take_care();
  void deliver_rest();

  std::unique_ptr<Link> control_;
  std::string_view transport_;
  std::vector<FramePort*> rails_;  // the courier's
  Alarm alarm_;
  int control_fd_ = -1;

  std::mutex mutex_;  // guards what follows
  Courier courier_;
  std::optional<Error> failure_;
  std::optional<Error>
      left_;            // the peer went in good order; what its last messages are followed by
  uint64_t calls_ = 0;  // of the owner
  bool closing_ = false;
  std::condition_variable closing_changed_;
  std::thread caretaker_;
};

}  // namespace cohort::transport
