#include "runner/rank.h"

#include <algorithm>

#include "base/check.h"

namespace cohort::runner {
namespace {

using transport::Deadline;
using transport::Wire;

constexpr int kFirst = 0;  // rank 0's place in the groups it tells
constexpr std::chrono::seconds kEndLimit{1};

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
  if (placement_.wire == Wire::kF32) {
    COHORT_TRY_VOID(
        group_.receive(placement_.sender, std::as_writable_bytes(std::span(stream_)), deadline));
  } else {
    wire_.resize(transport::wire_bytes(placement_.wire, stream_.size()));
    COHORT_TRY_VOID(group_.receive(placement_.sender, wire_, deadline));
    transport::decode(placement_.wire, wire_.data(), stream_);
  }
  return backend_.input(stream_, width);
}

Result<void> Rank::hand_on(backend::Tensor stream, Deadline deadline) {
  stream_.resize(static_cast<size_t>(stream.rows) * static_cast<size_t>(stream.columns));
  COHORT_TRY_VOID(backend_.read(stream, stream_));
  std::span<const std::byte> bytes = std::as_bytes(std::span(stream_));
  if (placement_.wire != Wire::kF32) {
    wire_.resize(transport::wire_bytes(placement_.wire, stream_.size()));
    transport::encode(placement_.wire, stream_, wire_.data());
    bytes = wire_;
  }
  for (const int receiver : placement_.receivers) {
    COHORT_TRY_VOID(group_.send(receiver, bytes, deadline));
  }
  return {};
}

RankExecutor::RankExecutor(Rank& rank)
    : rank_(rank), earlier_(rank.group().subset(rank.placement().earlier)) {
  COHORT_CHECK(rank.placement().rank == 0);
}

Result<void> RankExecutor::run(const backend::StepPlan& plan, std::span<float> logits) {
  if (failure_) return tl::unexpected(*failure_);
  Result<void> done = step(plan, logits);
  if (!done) failure_ = done.error();
  return done;
}

Result<void> RankExecutor::step(const backend::StepPlan& plan, std::span<float> logits) {
  if (!alone()) {
    encode_step(copies_, plan, command_);
    COHORT_TRY_VOID(tell(*earlier_));
    COHORT_TRY_VOID(tell(rank_.stage()));
  }
  rank_.copy_kv_pages(copies_);
  copies_.clear();
  return rank_.run(plan, logits);
}

Result<void> RankExecutor::tell(transport::Group& ranks) {
  if (ranks.size() == 1) return {};
  return ranks.broadcast(kFirst, command_, Deadline::after(kStepLimit));
}

void RankExecutor::copy_kv_page(int32_t from, int32_t to) { copies_.push_back({from, to}); }

Result<void> RankExecutor::check() {
  if (failure_) return tl::unexpected(*failure_);
  Result<void> alive = rank_.group().check();
  if (!alive) failure_ = alive.error();
  return alive;
}

void RankExecutor::end() {
  if (alone() || failure_) return;
  encode_end(command_);
  for (transport::Group* ranks : {earlier_.get(), &rank_.stage()}) {
    if (ranks->size() == 1) continue;
    if (!ranks->broadcast(kFirst, command_, Deadline::after(kEndLimit))) return;  // gone already
  }
}

Result<void> follow(Rank& rank, int32_t kv_pages) {
  const Placement& placement = rank.placement();
  COHORT_CHECK(placement.rank != 0);
  const auto earlier = placement.last_stage ? nullptr : rank.group().subset(placement.earlier);
  transport::Group& orders = earlier ? *earlier : rank.stage();
  const PlanLimits limits{.kv_pages = kv_pages, .vocab_size = rank.model_info().vocab_size};
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
