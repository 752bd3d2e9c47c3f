#include "node/generation.h"

#include <algorithm>
#include <random>
#include <utility>

#include "base/check.h"

namespace cohort::node {
namespace {

size_t size_of(const runner::GenerateDelta& delta) {
  constexpr size_t kBytesPerLogprob = 64;
  size_t logprobs = 0;
  for (const auto& entry : delta.logprobs) logprobs += 1 + entry.top.size();
  return sizeof delta + delta.text.size() + delta.tokens.size() * sizeof(int32_t) +
         logprobs * kBytesPerLogprob;
}

uint64_t random_seed() {
  std::random_device random;
  return (static_cast<uint64_t>(random()) << 31) ^ random();
}

}  // namespace

Generation::Generation(net::Executor executor, runner::GenerateRequest request)
    : request_(std::move(request)),
      choices_(static_cast<size_t>(std::max(1, request_.choices))),
      changed_(executor) {
  request_.choices = static_cast<int32_t>(choices_.size());
  // Drawn here and not by the runner, so that another runner goes on with the tokens this one would have given.
  if (!request_.sampling.seed) request_.sampling.seed = random_seed();
}

Generation::~Generation() {
  if (owner_ != nullptr) owner_->on_dropped(*this);
}

net::Task<Result<std::vector<runner::GenerateDelta>>> Generation::next(net::TimePoint deadline) {
  COHORT_CHECK(!finished());
  while (buffer_.empty() && !error_) {
    const net::Wake wake = co_await changed_.wait(deadline);
    if (wake == net::Wake::kTimeout) co_return cohort::fail(Code::kTimeout, "no token yet");
    if (wake == net::Wake::kCancelled)
      co_return cohort::fail(Code::kCancelled, "the client is gone");
  }
  if (buffer_.empty()) co_return tl::unexpected(*error_);
  auto deltas = std::exchange(buffer_, {});
  buffered_bytes_ = 0;
  if (owner_ != nullptr) owner_->on_drained(*this);
  co_return deltas;
}

bool Generation::finished() const { return buffer_.empty() && !error_ && all_choices_finished(); }

bool Generation::all_choices_finished() const {
  return std::all_of(choices_.begin(), choices_.end(),
                     [](const Choice& choice) { return choice.finished; });
}

runner::GenerateRequest Generation::resumed(size_t choice) const {
  runner::GenerateRequest request = request_;
  request.choices = 1;
  request.sampling.seed = *request.sampling.seed + choice;
  const std::vector<int32_t>& sent = choices_.at(choice).tokens;
  request.generated.insert(request.generated.end(), sent.begin(), sent.end());
  request.echo = request.echo && !choices_[choice].started;
  return request;
}

std::vector<Generation::Part> Generation::parts_left() const {
  const bool is_new = std::none_of(choices_.begin(), choices_.end(),
                                   [](const Choice& choice) { return choice.started; });
  if (is_new) return {{request_, 0}};
  std::vector<Part> parts;
  for (size_t i = 0; i < choices_.size(); ++i) {
    if (!choices_[i].finished) parts.push_back({resumed(i), static_cast<int32_t>(i)});
  }
  return parts;
}

void Generation::push(runner::GenerateDelta delta) {
  Choice& choice = choices_.at(static_cast<size_t>(delta.choice));
  choice.tokens.insert(choice.tokens.end(), delta.tokens.begin(), delta.tokens.end());
  choice.started = true;
  choice.finished = !delta.finish_reason.empty();
  if (!delta.tokens.empty()) crashes_without_progress = 0;
  buffered_bytes_ += size_of(delta);
  buffer_.push_back(std::move(delta));
  changed_.notify_all();
}

void Generation::fail(Error error) {
  if (error_ || all_choices_finished()) return;
  error_ = std::move(error);
  changed_.notify_all();
}

}  // namespace cohort::node
