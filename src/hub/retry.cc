#include "hub/retry.h"

#include <algorithm>

namespace cohort::hub {
namespace {

Error error_of(const TransferResult& result, std::string_view what, const HubOptions& options) {
  if (result.status == 401 || result.status == 403) {
    return {Code::kUnauthorized, fmt::format("{}: {} {}", what, options.endpoint,
                                             options.token.empty() ? "wants a token; set HF_TOKEN"
                                                                   : "refuses this token")};
  }
  if (result.status == 404)
    return {Code::kNotFound, fmt::format("{}: not found on {}", what, options.endpoint)};
  if (result.status >= 400)
    return {Code::kUnavailable, fmt::format("{}: HTTP status {}", what, result.status)};
  if (!result.error.empty()) return {Code::kUnavailable, fmt::format("{}: {}", what, result.error)};
  return {Code::kUnavailable, fmt::format("{}: unexpected HTTP status {}", what, result.status)};
}

Milliseconds back_off(int failures, const HubOptions& options) {
  const Milliseconds doubled = options.backoff * (1LL << std::min(failures, 16));
  return std::min(doubled, options.longest_wait);
}

}  // namespace

Verdict judge(const TransferResult& result, int failures, std::string_view what,
              const HubOptions& options) {
  const bool answered = result.error.empty();
  if (answered && (result.status == 200 || result.status == 206)) return {};
  Verdict verdict{.kind = Verdict::Kind::kRetry, .error = error_of(result, what, options)};
  const bool slow_down = result.status == 429 || result.status == 503;
  const bool final_status =
      result.status >= 400 && result.status < 500 && result.status != 408 && result.status != 429;
  if (final_status || failures + 1 >= options.attempts) verdict.kind = Verdict::Kind::kFail;
  verdict.wait = back_off(failures, options);
  verdict.all_wait = slow_down;
  if (slow_down && result.retry_after)
    verdict.wait = std::min(*result.retry_after, options.longest_wait);
  return verdict;
}

}  // namespace cohort::hub
