// Serves one loaded model over one socket: a thread reads and prepares requests, the caller's thread steps the engine and
// writes what comes out.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "engine/engine.h"
#include "runner/frame_socket.h"
#include "runner/inbox.h"
#include "runner/loaded_model.h"
#include "runner/protocol.h"
#include "runner/rank.h"

namespace cohort::runner {

class Service {
 public:
  static constexpr std::chrono::seconds kStatsInterval{1};
  static constexpr std::chrono::seconds kDrainLimit{
      30};  // from kShutdown to giving up what still runs

  static constexpr std::chrono::milliseconds kLookInterval{200};  // at the other ranks, while idle

  // Borrows all. `rank` is rank 0.
  Service(FrameSocket& socket, const LoadCommand& command, const LoadedModel& model, Rank& rank);

  // Until the peer closes or asks for the end; then lets the other ranks go. Sleeps while there is nothing to do.
  // When the group fails, requests are left as they are, since another placement may continue them: the peer is told
  // the reason (kFailed), and that is all.
  void run();

 private:
  using Clock = std::chrono::steady_clock;

  // On the reading thread.
  void read_frames();
  std::optional<Work> to_work(
      const Frame& frame) const;  // nullopt: no frame that a daemon sends now
  Work prepare_generate(const Json& body) const;

  // On the stepping thread.
  void handle(Work work);
  void submit(Submission submission);
  void step();
  std::chrono::milliseconds longest_sleep() const;
  bool goes_on();  // sends what came out of this round
  bool drained() const;
  void queue_stats();
  template <class T>
  void queue(FrameType type, const T& body);
  bool flush();  // false: the peer is gone

  FrameSocket& socket_;
  const LoadedModel& model_;
  RankExecutor executor_;
  engine::Engine engine_;
  Inbox inbox_;
  std::string outgoing_;  // frames of this round, written at once
  Clock::time_point last_stats_{};
  std::optional<Clock::time_point> drain_until_;  // set by kShutdown
};

}  // namespace cohort::runner
