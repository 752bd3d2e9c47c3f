#include <algorithm>
#include <chrono>
#include <thread>
#include <vector>

#include "cli/step_costs.h"
#include "transport/local_groups.h"

namespace cohort::cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kRounds = 2000, kLeastRounds = 20;
constexpr std::chrono::milliseconds kLimit{
    100};  // of all rounds: on a crowded machine each may wait for its core
constexpr int kSpinsBeforeYield = 1000;
constexpr size_t kSmallBytes = 64;
constexpr size_t kLargeBytes = transport::kMaxMessageBytes;

Result<void> send(transport::Link& link, std::span<const std::byte> bytes) {
  for (;;) {
    COHORT_TRY(const bool sent, link.try_send({.total = bytes.size(), .payload = bytes}));
    if (sent) return {};
  }
}

Result<void> receive(transport::Link& link, std::vector<std::byte>& into) {
  for (int spins = 1;; ++spins) {
    COHORT_TRY(const auto message, link.try_receive());
    if (!message) {
      if (spins % kSpinsBeforeYield != 0) continue;
      COHORT_TRY_VOID(link.check());  // its end is seen nowhere else
      std::this_thread::yield();
      continue;
    }
    into.assign(message->payload.begin(), message->payload.end());
    link.release();
    return {};
  }
}

// Gives back whatever comes, until the link ends.
void echo(transport::Link& link) {
  std::vector<std::byte> bytes;
  while (receive(link, bytes) && send(link, bytes)) {
  }
}

// Both ends of a link; the far one is a thread's of its own, or else this one's.
class Pair {
 public:
  static Result<std::unique_ptr<Pair>> connect(bool two_cores) {
    COHORT_TRY(auto links,
               transport::make_local_links({.size = 2, .type = transport::LinkType::kShm}));
    return std::unique_ptr<Pair>(new Pair(std::move(links), two_cores));
  }
  ~Pair() {
    links_[0][1]->abort("measured");
    if (far_.joinable()) far_.join();
  }

  Result<void> round_trip(std::vector<std::byte>& bytes) {
    COHORT_TRY_VOID(send(*links_[0][1], bytes));
    if (!far_.joinable()) {
      COHORT_TRY_VOID(receive(*links_[1][0], bytes));
      COHORT_TRY_VOID(send(*links_[1][0], bytes));
    }
    return receive(*links_[0][1], bytes);
  }

 private:
  Pair(transport::LinkTable links, bool two_cores) : links_(std::move(links)) {
    if (two_cores) far_ = std::thread([this] { echo(*links_[1][0]); });
  }

  transport::LinkTable links_;
  std::thread far_;
};

// Ascending.
Result<std::vector<double>> round_trips(Pair& pair, size_t size) {
  std::vector<std::byte> bytes(size);
  std::vector<double> seconds;
  const auto limit = Clock::now() + kLimit;
  while (seconds.size() < kLeastRounds || (seconds.size() < kRounds && Clock::now() < limit)) {
    const auto started = Clock::now();
    COHORT_TRY_VOID(pair.round_trip(bytes));
    seconds.push_back(std::chrono::duration<double>(Clock::now() - started).count());
  }
  std::sort(seconds.begin(), seconds.end());
  return seconds;
}

}  // namespace

Result<ShmCosts> measure_shm_costs(int cores) {
  COHORT_TRY(const auto pair, Pair::connect(cores > 1));
  COHORT_TRY(const std::vector<double> small, round_trips(*pair, kSmallBytes));
  COHORT_TRY(const std::vector<double> large, round_trips(*pair, kLargeBytes));
  ShmCosts costs{.round_trip_p50_s = small[small.size() / 2],
                 .round_trip_p99_s = small[small.size() * 99 / 100]};
  const double longer_s = (large[large.size() / 2] - small[small.size() / 2]) / 2;
  if (longer_s > 0) costs.bytes_per_s = static_cast<double>(kLargeBytes - kSmallBytes) / longer_s;
  return costs;
}

}  // namespace cohort::cli
