#include "runner/rank.h"

#include <algorithm>

#include "base/check.h"
#include "models/halves.h"

namespace cohort::runner {
namespace {

using transport::Deadline;

constexpr int kFirst = 0;  // rank 0's place in the groups it tells
constexpr std::chrono::seconds kEndLimit{1};
constexpr size_t kMostAheadBytes =
    64u << 10;  // of commands that nobody takes yet; every link holds so much

}  // namespace

Rank::Rank(backend::Backend& backend, models::Model& model, transport::Group& group,
           const Placement& placement)
    : backend_(backend),
      model_(model),
      group_(group),
      placement_(placement),
      stage_(group.subset(placement.stage)) {
  backend_.set_group(stage_.get());
}

Rank::~Rank() { backend_.set_group(nullptr); }

Result<void> Rank::run(const backend::StepPlan& plan, std::span<float> logits) {
  const Deadline deadline = Deadline::after(kStepLimit);
  backend_.begin_step(plan);
  backend::Tensor input;
  if (!placement_.first_stage()) {
    COHORT_TRY(input, take_stream(plan.tokens.size(), deadline));
  }
  const backend::Tensor result = model_.forward(backend_, plan, input);
  if (!placement_.last_stage) return hand_on(result, deadline);
  return logits.empty() ? backend_.finish() : backend_.read(result, logits);
}

void Rank::copy_kv_pages(std::span<const PageCopy> copies) {
  for (const PageCopy& copy : copies) backend_.copy_kv_page(copy.from, copy.to);
}

Result<backend::Tensor> Rank::take_stream(size_t rows, Deadline deadline) {
  const int32_t width = model_.info().width;
  stream_.resize(rows * static_cast<size_t>(width));
  COHORT_TRY_VOID(group_.receive_values(placement_.sender, stream_, deadline));
  return backend_.input(stream_, width);
}

Result<void> Rank::hand_on(backend::Tensor stream, Deadline deadline) {
  stream_.resize(static_cast<size_t>(stream.rows) * static_cast<size_t>(stream.columns));
  COHORT_TRY_VOID(backend_.read(stream, stream_));
  for (const int receiver : placement_.receivers) {
    COHORT_TRY_VOID(group_.send_values(receiver, stream_, deadline));
  }
  return {};
}

RankExecutor::RankExecutor(Rank& rank)
    : rank_(rank),
      earlier_(rank.group().subset(rank.placement().earlier)),
      steps_(static_cast<size_t>(rank.placement().stages)) {
  COHORT_CHECK(rank.placement().rank == 0);
}

Result<void> RankExecutor::begin(const backend::StepPlan& plan) { return keep(try_begin(plan)); }

Result<void> RankExecutor::finish(std::span<float> logits) { return keep(try_finish(logits)); }

Result<void> RankExecutor::run(const backend::StepPlan& plan, std::span<float> logits) {
  COHORT_TRY_VOID(begin(plan));
  return finish(logits);
}

void RankExecutor::copy_kv_page(int32_t from, int32_t to) { copies_.push_back({from, to}); }

Result<void> RankExecutor::try_begin(const backend::StepPlan& plan) {
  if (failure_) return tl::unexpected(*failure_);
  COHORT_CHECK(begun_ < steps_.size());
  Step& step = steps_[(oldest_ + begun_++) % steps_.size()];
  step.plan = &plan;
  step.told = false;
  step.copies.swap(copies_);
  copies_.clear();
  if (alone()) return {};
  if (may_be_halved(plan) && halves_.next()) {
    step.halved = plan;
    step.halved.in_halves = true;
    step.plan = &step.halved;
  }
  encode_step(step.copies, *step.plan, step.command);
  return may_tell_ahead() ? tell_earlier(step) : Result<void>();
}

// Stages after one another have enough to do while a sum travels.
bool RankExecutor::may_be_halved(const backend::StepPlan& plan) const {
  return rank_.placement().stages == 1 && plan.tokens.size() >= models::kRowsWorthHalving &&
         models::can_be_halved(plan);
}

// While an earlier stage hands us a stream that we do not take yet, it reads no commands: those must fit into the
// link's own memory. And they are told in order.
bool RankExecutor::may_tell_ahead() const {
  size_t size = 0;
  for (size_t i = 0; i < begun_; ++i) {
    const Step& step = steps_[(oldest_ + i) % steps_.size()];
    if (i + 1 < begun_ && !step.told) return false;
    size += step.command.size();
  }
  return begun_ == 1 || size <= kMostAheadBytes;
}

Result<void> RankExecutor::tell_earlier(Step& step) {
  step.told = true;
  if (earlier_->size() == 1) return {};
  return earlier_->broadcast(kFirst, step.command, Deadline::after(kStepLimit));
}

Result<void> RankExecutor::try_finish(std::span<float> logits) {
  if (failure_) return tl::unexpected(*failure_);
  COHORT_CHECK(begun_ > 0);
  Step& step = steps_[oldest_];
  if (!alone()) {
    if (!step.told) COHORT_TRY_VOID(tell_earlier(step));
    if (rank_.stage().size() > 1) {
      COHORT_TRY_VOID(rank_.stage().broadcast(kFirst, step.command, Deadline::after(kStepLimit)));
    }
  }
  rank_.copy_kv_pages(step.copies);
  const auto began = std::chrono::steady_clock::now();
  COHORT_TRY_VOID(rank_.run(*step.plan, logits));
  if (!alone() && may_be_halved(*step.plan)) {
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
    halves_.ran(step.plan->in_halves, took.count() / static_cast<double>(step.plan->tokens.size()));
  }
  oldest_ = (oldest_ + 1) % steps_.size();
  --begun_;
  return {};
}

Result<void> RankExecutor::keep(Result<void> done) {
  if (!done && !failure_) failure_ = done.error();
  return done;
}

Result<void> RankExecutor::check() {
  if (failure_) return tl::unexpected(*failure_);
  return keep(rank_.group().check());
}

void RankExecutor::end() {
  if (alone() || failure_) return;
  while (begun_ > 0) {  // whose requests are gone; others wait for us to take part
    std::vector<float> nobodys(steps_[oldest_].plan->logits_rows.size() *
                               static_cast<size_t>(rank_.model_info().vocab_size));
    if (!finish(nobodys)) return;
  }
  std::vector<std::byte> command;
  encode_end(command);
  for (transport::Group* ranks : {earlier_.get(), &rank_.stage()}) {
    if (ranks->size() == 1) continue;
    if (!ranks->broadcast(kFirst, command, Deadline::after(kEndLimit))) return;  // gone already
  }
}

Result<void> follow(Rank& rank, int32_t kv_pages) {
  const Placement& placement = rank.placement();
  COHORT_CHECK(placement.rank != 0);
  const auto earlier = placement.last_stage ? nullptr : rank.group().subset(placement.earlier);
  transport::Group& orders = earlier ? *earlier : rank.stage();
  const PlanLimits limits{.kv_pages = kv_pages,
                          .vocab_size = rank.model_info().vocab_size,
                          .has_all_layers = placement.stages == 1};
  std::vector<std::byte> bytes;
  StepCommand command;
  for (;;) {
    // Rank 0 may have nothing to do for days; its death ends the wait.
    COHORT_TRY_VOID(orders.broadcast(kFirst, bytes, Deadline::never()));
    Result<void> done = decode_command(bytes, limits, command);
    if (done && command.end) return {};
    if (done) {
      rank.copy_kv_pages(command.copies);
      done = rank.run(command.plan, {});
    }
    if (!done) {
      rank.group().abort(done.error().message);
      return done;
    }
  }
}

}  // namespace cohort::runner
