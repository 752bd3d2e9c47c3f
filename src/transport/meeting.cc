#include "transport/meeting.h"

#include <poll.h>

#include <chrono>

namespace cohort::transport {

Result<void> Meeting::tell(std::string_view text) {
  const auto bytes = std::as_bytes(std::span(text));
  for (;;) {
    COHORT_TRY(const bool sent,
               link_.try_send({.kind = Kind::kAgree, .total = bytes.size(), .payload = bytes}));
    if (sent) return {};
    if (handshake_.deadline.passed()) return fail(Code::kTimeout, "{} takes no messages", peer());
    wait({.send = true});
  }
}

Result<std::string> Meeting::hear() {
  for (;;) {
    COHORT_TRY(const std::optional<InMessage> message, link_.try_receive());
    if (message) {
      const std::string text(reinterpret_cast<const char*>(message->payload.data()),
                             message->payload.size());
      const Kind kind = message->kind;
      link_.release();
      if (kind == Kind::kAgree) return text;
      return fail(Code::kDataLoss, "{}: sent {} before both had agreed on a transport", peer(),
                  kind_name(kind));
    }
    if (handshake_.deadline.passed())
      return fail(Code::kTimeout, "{} did not say what to be linked by", peer());
    wait({.receive = true});
  }
}

void Meeting::wait(Interest interest) {
  constexpr std::chrono::milliseconds kLongestWait{1000};
  std::optional<pollfd> sleeper = link_.arm(interest);
  if (sleeper)
    ::poll(&*sleeper, 1, static_cast<int>(handshake_.deadline.left(kLongestWait).count()));
  link_.disarm();
}

}  // namespace cohort::transport
