// One end of a pair of queues that move whole frames between registered memories: what a queue pair can do, and what a
// test's lossy pair does. Few and small requests: the least that is known of any device is 32 of them outstanding a
// direction, each of one piece.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "base/result.h"

namespace cohort::transport {

class FramePort {
 public:
  struct Completion {
    bool received = false;  // else: sent, its memory is free again
    uint32_t id = 0;        // as given to send() or receive()
    size_t size = 0;        // of what was received
  };

  virtual ~FramePort() = default;

  // False: what is sent may be lost, come twice or out of order, but never damaged.
  virtual bool is_reliable() const = 0;

  // Does what was sent arrive though nobody polls here?
  virtual bool works_alone() const = 0;

  // Both in registered memory that stays untouched until the completion with this id.
  virtual Result<void> send(uint32_t id, std::span<const std::byte> frame) = 0;
  virtual Result<void> receive(uint32_t id, std::span<std::byte> slot) = 0;

  // Where it works alone: asks the other end's device, not its process, for a sign of life. Completes like a send once
  // that has come; else poll() fails, within a second.
  virtual Result<void> ping(uint32_t id) = 0;

  virtual Result<std::optional<Completion>> poll() = 0;

  // To sleep: after arm_events() the next completion makes event_fd() readable, until drain_events(). -1: the device has
  // no events. False: something has happened meanwhile; poll.
  virtual int event_fd() const = 0;
  virtual bool arm_events() = 0;
  virtual void drain_events() = 0;

  virtual Result<void> check() = 0;  // notices a device that went away
};

}  // namespace cohort::transport
