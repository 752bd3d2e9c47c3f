// Messages over frame ports: in order, exactly once, though frames may be lost, come early or overtake each other.
//
// A message that is longer than a frame goes in several, and is put together again at the other end; each frame has its
// number. A sender keeps it in its slot of registered memory until the peer has taken it, and runs at most a window of
// frames ahead, so a reliable port never lacks a receive slot for one. Over an unreliable port it sends again what the
// peer reports missing, or does not report at all for a few round trips. Reports ride on messages; when none go, a note
// of their own carries them.
//
// A peer that dies with its host says nothing. Over ports that do not work alone each end sends a note every kPulse,
// whatever else it sends (FrameLink polls for an owner who is away), and gives a peer up that was silent for kSilenceLimit;
// over others the device is asked for a sign of life as often, and fails when there is none.
//
// Frame s travels on rail s % rails. One thread at a time. Pure but for its ports: the time is an argument.
#pragma once

#include <array>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "transport/link.h"
#include "transport/frames/frame_memory.h"
#include "transport/frames/frame_port.h"

namespace cohort::transport {

// How long an answer usually takes, and so when to give up waiting for it.
class RoundTrips {
 public:
  using Duration = std::chrono::steady_clock::duration;
  void add(Duration sample);
  Duration patience(int tries) const;  // before the next one
  Duration smooth() const { return smooth_; }

 private:
  Duration smooth_{0}, deviation_{0};
};

class Courier {
 public:
  using Time = std::chrono::steady_clock::time_point;
  static constexpr std::chrono::milliseconds kPulse{100};
  static constexpr std::chrono::milliseconds kSilenceLimit{700};

  struct Options {
    uint32_t session = 1;
    std::string peer;  // for messages
    Time now;
  };

  // Every receive slot of each port is posted already: slot i of a rail as id i.
  Courier(FrameMemory memory, std::vector<std::unique_ptr<FramePort>> rails, Options options);

  Result<bool> try_send(const OutMessage& message, Time now);
  Result<std::optional<InMessage>> try_receive(Time now);
  Result<void> release(Time now);

  // Takes what has come and sends again what is due. The other calls do the same when they find nothing to do.
  Result<void> work(Time now);
  Result<void> tell(Time now);  // what the peer may be waiting to hear; before sleeping

  bool has_message() const { return inbox_[place_of(taken_)].here && !held_; }  // or a piece of one
  bool has_room() const;
  bool is_delivered() const;          // all that was sent has arrived
  std::optional<Time> alarm() const;  // when work() is due though nothing comes

 private:
  struct Sent {  // a frame that is under way
    size_t size = 0;
    Time first, last;  // sent
    int tries = 0;
    int posted = 0;  // sends without a completion
    bool arrived = true;
  };
  struct Received {
    bool here = false;
    uint32_t slot = 0;
    size_t size = 0;
  };

  struct Piece {
    Header header;  // its length: of the message from here on
    std::span<const std::byte> bytes;
    bool is_last() const { return header.length == bytes.size(); }
  };
  struct Joining {  // a message of several pieces
    Header last;    // that of the piece before
    std::vector<std::byte> bytes;
    size_t missing = 0;
  };

  uint32_t place_of(uint64_t sequence) const {
    return static_cast<uint32_t>(sequence % rules_.window);
  }
  uint32_t rail_of(uint64_t sequence) const {
    return static_cast<uint32_t>(sequence % rails_.size());
  }
  bool owes_report() const { return told_arrived_ != arrived_ || told_taken_ != taken_; }
  bool is_reliable() const { return rails_.front()->is_reliable(); }
  Result<void> send_piece(const OutMessage& message, Time now);
  Result<void> post(uint64_t sequence, Time now);
  Result<void> post_again(uint64_t sequence, Time now);
  Result<Piece> next_piece() const;
  Result<void> join(const Piece& piece);
  Result<void> give_back(Time now);
  Result<void> accept(uint32_t rail, const FramePort::Completion& frame, Time now);
  Result<bool> keep(uint32_t rail, const FramePort::Completion& frame, Time now);
  Result<void> hear(const FrameHead& head, Time now);
  Result<void> send_again(Time now);
  void sent(uint32_t id, Time now);
  Result<void> beat(Time now);
  Result<void> ask_for_life(Time now);
  bool is_anything_posted() const;
  Result<void> report(Time now);
  Result<void> note(uint32_t rail, Time now);
  FrameHead head_now();
  Result<void> repost(uint32_t rail, uint32_t slot);
  Time due(const Sent& sent) const { return sent.last + trips_.patience(sent.tries); }

  FrameMemory memory_;
  const FrameRules rules_;
  std::vector<std::unique_ptr<FramePort>> rails_;
  Options options_;

  std::array<Sent, kMaxWindow> outbox_;  // by place
  uint64_t next_ = 0;                    // frame to send
  size_t cut_ = 0;                       // bytes of a message whose first pieces went out
  uint64_t peer_arrived_ = 0, peer_taken_ = 0;
  std::array<bool, kNoteSlots> note_busy_{};
  RoundTrips trips_;
  Time heard_;   // of the peer, or of its device
  Time noted_;   // to it
  Time worked_;  // the last time
  bool asking_ = false;

  std::array<Received, kMaxWindow> inbox_;  // by place
  uint64_t arrived_ = 0;                    // all below have come
  uint64_t taken_ = 0;                      // all below were released
  Joining joining_;
  bool held_ = false;
  uint64_t told_arrived_ = 0, told_taken_ = 0;
  bool must_tell_ = false;  // a gap, or something came twice
  Time owing_since_;        // what arrived and is not told
};

}  // namespace cohort::transport
