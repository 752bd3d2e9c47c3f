// One rank's part of the steps of an instance: takes the stream of the stage before, computes its layers, hands the
// stream on. Rank 0 drives (RankExecutor), the others follow.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "engine/engine.h"
#include "models/model.h"
#include "runner/halves_choice.h"
#include "runner/placement.h"
#include "runner/step_command.h"
#include "transport/group.h"

namespace cohort::runner {

// Of a step's exchanges, while all peers are alive: longer than the slowest device computes on the longest chunk.
inline constexpr std::chrono::minutes kStepLimit{5};

class Rank {
 public:
  // Borrows all three; the backend is told of the stage's tensor group. `group` has all ranks of the instance.
  Rank(backend::Backend& backend, models::Model& model, transport::Group& group,
       const Placement& placement);
  ~Rank();
  Rank(const Rank&) = delete;
  Rank& operator=(const Rank&) = delete;

  // `logits` [plan.logits_rows, vocab_size] on rank 0; empty elsewhere, and where none are wanted.
  Result<void> run(const backend::StepPlan& plan, std::span<float> logits);
  void copy_kv_pages(std::span<const PageCopy> copies);

  transport::Group& group() { return group_; }
  transport::Group& stage() { return *stage_; }
  const models::ModelInfo& model_info() const { return model_.info(); }
  const Placement& placement() const { return placement_; }

 private:
  Result<backend::Tensor> take_stream(size_t rows, transport::Deadline deadline);
  Result<void> hand_on(backend::Tensor stream, transport::Deadline deadline);

  backend::Backend& backend_;
  models::Model& model_;
  transport::Group& group_;
  const Placement placement_;
  std::unique_ptr<transport::Group> stage_;  // the ranks of our stage
  std::vector<float> stream_;
};

// Rank 0's: tells the other ranks what to compute, and does its own part. A group of one tells nobody.
class RankExecutor final : public engine::StepExecutor {
 public:
  explicit RankExecutor(Rank& rank);  // borrowed

  // After an error the group is over: all ranks get it, and so does every later call.
  int32_t depth() const override { return rank_.placement().stages; }
  Result<void> begin(const backend::StepPlan& plan) override;
  Result<void> finish(std::span<float> logits) override;
  void copy_kv_page(int32_t from, int32_t to) override;
  Result<void> run(const backend::StepPlan& plan, std::span<float> logits);  // both

  bool alone() const { return rank_.group().size() == 1; }
  Result<void> check();  // are all ranks there? For while nothing runs
  const std::optional<Error>& failure() const { return failure_; }
  void end();  // lets the others go

 private:
  struct Step {
    const backend::StepPlan* plan = nullptr;
    backend::StepPlan halved;      // `plan`, when it is to be run so
    std::vector<PageCopy> copies;  // before it
    std::vector<std::byte> command;
    bool told = false;  // the earlier stages
  };

  Result<void> try_begin(const backend::StepPlan& plan);
  Result<void> try_finish(std::span<float> logits);
  bool may_be_halved(const backend::StepPlan& plan) const;
  bool may_tell_ahead() const;
  Result<void> tell_earlier(Step& step);
  Result<void> keep(Result<void> done);

  Rank& rank_;
  std::unique_ptr<transport::Group> earlier_;  // rank 0 and the stages before its own
  std::vector<PageCopy> copies_;               // before the next step
  HalvesChoice halves_;
  std::vector<Step> steps_;  // a ring: begun_ of them from oldest_ on
  size_t oldest_ = 0, begun_ = 0;
  std::optional<Error> failure_;
};

// What all other ranks do: returns when rank 0 ends the group, or with the error that did.
Result<void> follow(Rank& rank, int32_t kv_pages);

}  // namespace cohort::runner
