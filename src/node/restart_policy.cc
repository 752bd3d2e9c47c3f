#include "node/restart_policy.h"

#include <algorithm>

namespace cohort::node {

std::optional<std::chrono::milliseconds> RestartPolicy::on_crash(TimePoint now) {
  while (!crashes_.empty() && now - crashes_.front() > options_.window) crashes_.pop_front();
  crashes_.push_back(now);
  if (crashes_.size() >= options_.max_crashes) return std::nullopt;
  auto delay = options_.first_delay;
  for (size_t i = 1; i < crashes_.size() && delay < options_.max_delay; ++i) delay *= 2;
  return std::min(delay, options_.max_delay);
}

}  // namespace cohort::node
