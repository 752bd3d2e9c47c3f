#include "node/memory_gauge.h"

#include <algorithm>
#include <set>
#include <utility>

#include "base/clock.h"
#include "base/json.h"
#include "base/log.h"
#include "cluster/neighbours.h"

namespace cohort::node {
namespace {

using std::chrono::milliseconds;

// To start a process and give it memory to read: of virtual machines that return free memory to their host, and get it back
// a page at a time, some take 0.7 s.
constexpr milliseconds kLead{1000};
constexpr milliseconds kTogether{50}, kAlone{30};
constexpr milliseconds kGap{10};  // what devices of a machine may differ in when they heard
constexpr milliseconds kPatience{4000};
constexpr milliseconds kDocumentPatience{1000}, kDocumentPoll{10};

// The first window after a pause, or one of a core that was taken away, tells little.
constexpr int kRounds = 3;

// Windows of all devices, then each device's own, and so on in rounds. Alone it has nobody to take turns with.
std::vector<MeasuringWindow> windows_of(const GaugeTurn& turn, net::TimePoint now) {
  std::vector<MeasuringWindow> windows;
  net::TimePoint begin = now + kLead;
  for (int round = 0; round < kRounds; ++round) {
    const net::TimePoint end = begin + kTogether;
    windows.push_back({begin, end});
    begin = end + kGap;
    if (turn.turns == 1) continue;
    const net::TimePoint alone = begin + turn.turn * (kAlone + kGap);
    windows.push_back({alone, alone + kAlone});
    begin += turn.turns * (kAlone + kGap);
  }
  return windows;
}

// Of every rate by `stride`, from the one at `first` on.
double median_of_every(const std::vector<double>& rates, size_t first, size_t stride) {
  std::vector<double> mine;
  for (size_t i = first; i < rates.size(); i += stride) mine.push_back(rates[i]);
  std::sort(mine.begin(), mine.end());
  return mine[mine.size() / 2];
}

// Devices that something is loaded or generated on.
std::set<std::string> busy_devices(const cluster::Devices& devices,
                                   const cluster::PlanDocument& plan) {
  std::set<std::string> busy;
  for (const cluster::InstancePlan& instance : plan.instances) {
    const std::vector<cluster::RankPlan> ranks = cluster::ranks_of(instance);
    const bool is_busy = std::any_of(ranks.begin(), ranks.end(), [&](const auto& rank) {
      const auto device = devices.find(rank.member.device);
      if (device == devices.end()) return false;
      const auto* shard = device->second.shard(instance.id, instance.epoch);
      if (shard == nullptr || shard->state == "loading" || shard->state == "healing") return true;
      return shard->requests > 0;
    });
    if (!is_busy) continue;
    for (const cluster::RankPlan& rank : ranks) busy.insert(rank.member.device);
  }
  return busy;
}

bool can_measure(const cluster::DeviceDocument& device) {
  return device.step.read_gb_per_s > 0 && !device.backends.empty() &&
         device.backends.front() == "cpu";
}

}  // namespace

std::vector<GaugeTurn> gauge_turns(const cluster::Devices& devices,
                                   const cluster::PlanDocument& plan) {
  std::map<std::string, std::vector<const cluster::DeviceDocument*>> machines;
  for (const auto& [id, device] : devices) {
    if (device.worker && !device.leaving)
      machines[device.machine.empty() ? id : device.machine].push_back(&device);
  }
  const std::set<std::string> busy = busy_devices(devices, plan);
  std::vector<GaugeTurn> turns;
  for (const auto& [machine, mates] : machines) {
    const bool is_free = std::all_of(mates.begin(), mates.end(), [&](const auto* mate) {
      return can_measure(*mate) && busy.count(mate->id) == 0;
    });
    if (!is_free || mates.size() > MemoryGauge::kMostTurns) continue;
    for (size_t i = 0; i < mates.size(); ++i)
      turns.push_back({mates[i]->id, static_cast<int32_t>(i), static_cast<int32_t>(mates.size())});
  }
  return turns;
}

MemoryGauge::MemoryGauge(net::Executor executor, Cluster& cluster, net::BlockingPool& pool,
                         Outward outward)
    : cluster_(cluster),
      pool_(pool),
      outward_(std::move(outward)),
      done_(executor),
      tasks_(executor) {}

net::Task<void> MemoryGauge::refresh() {
  if (pending_ == 0 && net::Clock::now() >= next_round_) start_round();
  while (pending_ > 0) {
    const net::Wake wake = co_await done_.wait();
    if (wake == net::Wake::kCancelled) co_return;
  }
  co_await wait_for_documents();
}

// Where there are many devices only the machine of this one is asked: not everybody is to stop for everybody's plans.
void MemoryGauge::start_round() {
  promised_.clear();
  const cluster::Devices& devices = cluster_.devices();
  const bool is_crowd = devices.size() > cluster::kFullMeshUpTo;
  const auto self = devices.find(cluster_.id());
  for (GaugeTurn& turn : gauge_turns(devices, cluster_.plan())) {
    const auto device = devices.find(turn.device);
    const bool is_near = device == self || (self != devices.end() && turn.turns > 1 &&
                                            device->second.machine == self->second.machine);
    if (is_crowd && !is_near) continue;
    ++pending_;
    tasks_.spawn(ask(std::move(turn)));
  }
  if (pending_ > 0) next_round_ = net::Clock::now() + kFresh;
}

net::Task<void> MemoryGauge::ask(GaugeTurn turn) {
  if (turn.device == cluster_.id()) {
    co_await take_turn(std::move(turn));
  } else {
    const Result<void> asked = co_await ask_device(std::move(turn));
    if (!asked) log::debug("memory is not measured: {}", asked.error().message);
  }
  --pending_;
  done_.notify_all();
}

net::Task<Result<void>> MemoryGauge::ask_device(GaugeTurn turn) {
  const net::TimePoint deadline = net::Clock::now() + kPatience;
  std::string device = turn.device;
  COHORT_CO_TRY(const auto stream,
                co_await cluster_.mesh()->open_stream(std::move(device), kGaugeStream, deadline));
  std::string text = dump_json(to_json(turn));
  COHORT_CO_TRY_VOID(co_await stream->write(std::move(text), deadline));
  const auto received = co_await stream->read(deadline);
  if (!received) co_return tl::unexpected(received.error());
  if (!*received) co_return fail(Code::kUnavailable, "device {} is busy", turn.device);
  COHORT_CO_TRY(const GaugeReply reply, read_json<GaugeReply>(**received));
  promised_[turn.device] = reply.measured_unix_ms;
  co_return Result<void>{};
}

net::Task<void> MemoryGauge::serve(std::unique_ptr<mesh::Stream> stream) {
  const net::TimePoint deadline = net::Clock::now() + kPatience;
  const auto received = co_await stream->read(deadline);
  if (!received || !*received) co_return;
  const auto turn = read_json<GaugeTurn>(**received);
  const bool makes_sense = turn && turn->device == cluster_.id() && turn->turn >= 0 &&
                           turn->turn < turn->turns && turn->turns <= kMostTurns;
  if (makes_sense) {
    const int64_t before_ms = speed_.measured_unix_ms;
    GaugeTurn taken = *turn;
    co_await take_turn(std::move(taken));
    if (speed_.measured_unix_ms != before_ms) {
      std::string text = dump_json(to_json(GaugeReply{speed_.measured_unix_ms}));
      co_await stream->write(std::move(text), deadline);
    }
  }
  stream->close();
}

net::Task<void> MemoryGauge::take_turn(GaugeTurn turn) {
  if (measuring_ || outward_.busy()) co_return;
  measuring_ = true;
  const int64_t now_ms = unix_ms();
  const size_t stride = turn.turns > 1 ? 2 : 1;
  auto work = [measure = outward_.measure, windows = windows_of(turn, net::Clock::now())] {
    return measure(windows);
  };
  const Result<std::vector<double>> rates = co_await pool_.run(std::move(work));
  measuring_ = false;
  if (!rates) {
    log::info("memory's speed could not be measured, plans use what it was before: {}",
              rates.error().message);
    co_return;
  }
  speed_ = {median_of_every(*rates, stride - 1, stride), median_of_every(*rates, 0, stride),
            now_ms};
  outward_.changed();
}

bool MemoryGauge::all_arrived() const {
  const cluster::Devices& devices = cluster_.devices();
  return std::all_of(promised_.begin(), promised_.end(), [&](const auto& promise) {
    const auto device = devices.find(promise.first);
    return device == devices.end() || device->second.memory.measured_unix_ms >= promise.second;
  });
}

net::Task<void> MemoryGauge::wait_for_documents() {
  const net::TimePoint deadline = net::Clock::now() + kDocumentPatience;
  while (!all_arrived() && net::Clock::now() < deadline) {
    const net::Wake wake = co_await net::sleep_until(net::Clock::now() + kDocumentPoll);
    if (wake == net::Wake::kCancelled) co_return;
  }
}

net::Task<void> MemoryGauge::close() { co_await tasks_.close(); }

}  // namespace cohort::node
