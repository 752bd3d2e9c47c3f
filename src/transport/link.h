// One pair's duplex pipe of messages. Nothing here waits: a group polls several links at once and decides itself when
// to spin and when to sleep.
//
// Messages arrive whole, in order, exactly once, their sequence and length checked; or the link fails and stays failed.
// Errors name the peer and the cause: kUnavailable when it is gone, left or gave up, kDataLoss when what came is not
// what was sent. One thread uses a link.
#pragma once

#include <poll.h>

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"
#include "transport/header.h"

namespace cohort::transport {

struct OutMessage {
  Kind kind = Kind::kAllSum;
  uint64_t total = 0;                  // bytes of the transfer it is a piece of
  std::span<const std::byte> payload;  // at most kMaxMessageBytes
};

struct InMessage {
  Kind kind = Kind::kAllSum;
  uint64_t total = 0;
  std::span<const std::byte>
      payload;  // in the link's own memory, of any alignment, until release()
};

struct Interest {  // what a sleeper waits for
  bool receive = false;
  bool send = false;
};

class Link {
 public:
  virtual ~Link() = default;  // tells the peer that it leaves, unless it failed before

  virtual const std::string& peer() const = 0;     // for messages: "rank 2 (studio)"
  virtual std::string_view transport() const = 0;  // "tcp", "shm"

  // True once all of the message has been handed over. False: no room for all of it now; call again with the same
  // message, whose bytes must not change until then.
  virtual Result<bool> try_send(const OutMessage& message) = 0;

  // The next message, or nullopt when it is not all here. Call release() before the next try_receive().
  virtual Result<std::optional<InMessage>> try_receive() = 0;
  virtual void release() = 0;

  // Notices, without receiving, a peer that died or gave up. One that left in good order is an error only to who still
  // wants something of it.
  virtual Result<void> check() = 0;

  // Before sleeping in poll(2): the descriptor that wakes on `interest` (or, where the OS tells, on the peer's death);
  // nullopt when what is wanted has come meanwhile. disarm() after waking, whatever arm() returned.
  virtual std::optional<pollfd> arm(Interest interest) = 0;
  virtual void disarm() = 0;

  // Gives up: the peer's next call fails with `reason`, if it can still be told; our own calls fail from now on.
  virtual void abort(std::string_view reason) = 0;
};

}  // namespace cohort::transport
