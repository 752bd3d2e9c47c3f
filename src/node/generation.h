// A request on its way and the stream of what it yields: waiting for a placement, queued, running, resumed on another
// runner, all behind one next(). Dropping it cancels.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/result.h"
#include "net/task.h"
#include "runner/protocol.h"

namespace cohort::node {

class Generation;

// Who works on a generation at the moment: a placement under way, or an instance.
class GenerationOwner {
 public:
  virtual ~GenerationOwner() = default;
  virtual void on_dropped(Generation& generation) = 0;  // forget it, stop its work
  virtual void on_drained(Generation& generation) = 0;  // its reader has caught up
};

class Generation {
 public:
  // Deltas held for a reader that is slower than the model; beyond, the work is paused and taken up again later.
  static constexpr size_t kMaxBufferedBytes = 1u << 20;

  Generation(net::Executor executor, runner::GenerateRequest request);
  Generation(const Generation&) = delete;
  Generation& operator=(const Generation&) = delete;
  ~Generation();

  // Everything that is there, at least one delta. kTimeout: nothing until the deadline, try again; kCancelled: our task was
  // cancelled; any other error is the end. Not after finished().
  net::Task<Result<std::vector<runner::GenerateDelta>>> next(net::TimePoint deadline);
  bool finished() const;  // every choice has given its last delta, and all were taken

  // For the owner.
  struct Choice {
    std::vector<int32_t> tokens;  // sent so far: what a resumed run starts from
    bool started = false;         // a delta came
    bool finished = false;
  };
  const runner::GenerateRequest& request() const { return request_; }
  const std::vector<Choice>& choices() const { return choices_; }
  bool all_choices_finished() const;
  // What is left to do: the request as it came while no choice has begun, else one request for each unfinished choice,
  // which goes on from the tokens it has sent.
  struct Part {
    runner::GenerateRequest request;
    int32_t first_choice = 0;
  };
  std::vector<Part> parts_left() const;
  void set_owner(GenerationOwner* owner) { owner_ = owner; }
  void push(runner::GenerateDelta delta);  // its `choice` is an index of this request's
  void fail(Error error);                  // after the deltas that are there
  size_t buffered_bytes() const { return buffered_bytes_; }
  int crashes_without_progress = 0;
  std::string model;  // that was asked for; "" of a peer's, which asked for an instance
  bool for_peer =
      false;  // another device asked, and finds the instance again by itself when it moves
  bool paused = false;  // withdrawn from the runner until the reader has caught up

 private:
  runner::GenerateRequest resumed(size_t choice) const;

  runner::GenerateRequest request_;
  std::vector<Choice> choices_;
  std::vector<runner::GenerateDelta> buffer_;
  size_t buffered_bytes_ = 0;
  std::optional<Error> error_;
  GenerationOwner* owner_ = nullptr;
  net::Notification changed_;
};

}  // namespace cohort::node
