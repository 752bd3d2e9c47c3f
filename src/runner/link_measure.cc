#include "runner/link_measure.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <vector>

#include "base/bytes.h"
#include "runner/hangup_watch.h"
#include "runner/membership.h"
#include "transport/group.h"

namespace cohort::runner {
namespace {

using Clock = std::chrono::steady_clock;
using Bytes = std::vector<std::byte>;
using transport::Group;

constexpr uint64_t kSmallBytes = 64;
constexpr uint64_t kLargeBytes = 256 * 1024;  // several messages, one behind the other
constexpr uint64_t kRoundsAtOnce = 10;
constexpr size_t kRounds = 1000, kLeastRounds = 30;
constexpr std::chrono::milliseconds kSizeLimit{200};  // for the rounds of a size
constexpr std::chrono::seconds kPatience{5};          // in which any operation must end

transport::Deadline soon() { return transport::Deadline::after(kPatience); }

// What rank 0 says is next: so many messages of a size, there and back. None: the end.
struct Batch {
  uint64_t size = 0, count = 0;
};

Result<Batch> agree_on(Group& group, const Batch& next) {
  Bytes bytes(2 * sizeof(uint64_t));
  store(bytes.data(), next.size);
  store(bytes.data() + sizeof(uint64_t), next.count);
  COHORT_TRY_VOID(group.broadcast(0, bytes, soon()));
  if (bytes.size() != 2 * sizeof(uint64_t))
    return fail(Code::kDataLoss, "rank 0 sent {} bytes, not a batch", bytes.size());
  const Batch said{load<uint64_t>(bytes.data()), load<uint64_t>(bytes.data() + sizeof(uint64_t))};
  if (said.size <= kLargeBytes) return said;
  return fail(Code::kDataLoss, "rank 0 wants messages of {} bytes", said.size);
}

Result<void> echo(Group& group) {
  for (;;) {
    COHORT_TRY(const Batch batch, agree_on(group, {}));
    if (batch.count == 0) return {};
    Bytes bytes(batch.size);
    for (uint64_t i = 0; i < batch.count; ++i) {
      COHORT_TRY_VOID(group.receive(0, bytes, soon()));
      COHORT_TRY_VOID(group.send(0, bytes, soon()));
    }
  }
}

// Seconds there and back, ascending.
Result<std::vector<double>> round_trips(Group& group, uint64_t size) {
  std::vector<double> seconds;
  Bytes bytes(size);
  const auto limit = Clock::now() + kSizeLimit;
  while (seconds.size() < kLeastRounds || (seconds.size() < kRounds && Clock::now() < limit)) {
    COHORT_TRY_VOID(agree_on(group, {size, kRoundsAtOnce}));
    for (uint64_t i = 0; i < kRoundsAtOnce; ++i) {
      const auto started = Clock::now();
      COHORT_TRY_VOID(group.send(1, bytes, soon()));
      COHORT_TRY_VOID(group.receive(1, bytes, soon()));
      seconds.push_back(std::chrono::duration<double>(Clock::now() - started).count());
    }
  }
  std::sort(seconds.begin(), seconds.end());
  return seconds;
}

Result<LinkMeasurement> measure(Group& group) {
  COHORT_TRY(const std::vector<double> small, round_trips(group, kSmallBytes));
  COHORT_TRY(const std::vector<double> large, round_trips(group, kLargeBytes));
  COHORT_TRY_VOID(agree_on(group, {}));
  LinkMeasurement measured{.rtt_us_p50 = small[small.size() / 2] * 1e6,
                           .rtt_us_p99 = small[small.size() * 99 / 100] * 1e6};
  const double longer_s = (large[large.size() / 2] - small[small.size() / 2]) / 2;
  if (longer_s > 0) {
    const auto bytes = static_cast<double>(kLargeBytes - kSmallBytes);
    measured.bandwidth_mbit_per_s = bytes * 8 / 1e6 / longer_s;
  }
  return measured;
}

}  // namespace

Result<void> measure_link(FrameSocket& socket, int fd, const Json& json) {
  COHORT_TRY(const MeasureCommand command, from_json<MeasureCommand>(json));
  if (command.rank != 0 && command.rank != 1)
    return fail(Code::kInvalidArgument, "rank {} is none of two", command.rank);
  const HangupWatch watch(fd, std::chrono::milliseconds(0));
  COHORT_TRY(
      auto links,
      link_ranks(socket, {.rank = command.rank, .count = 2, .transport = command.transport}));
  const std::string transport(links[static_cast<size_t>(1 - command.rank)]->transport());
  const auto group = make_group(command.rank, std::move(links), {.cancel = &watch.flag()});
  if (command.rank == 1) return echo(*group);
  COHORT_TRY(LinkMeasurement measured, measure(*group));
  measured.transport = transport;
  return socket.send(FrameType::kMeasured, measured);
}

}  // namespace cohort::runner
