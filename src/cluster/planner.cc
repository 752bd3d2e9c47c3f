#include "cluster/planner.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "base/bytes.h"
#include "cluster/split.h"

namespace cohort::cluster {
namespace {

using Groups = std::vector<std::vector<int>>;

constexpr std::string_view kAnyTransport = "auto";

int find_device(const Topology& topology, const std::string& id_or_name) {
  for (size_t i = 0; i < topology.devices.size(); ++i) {
    const DeviceFacts& device = topology.devices[i];
    if (device.id == id_or_name || device.name == id_or_name) return static_cast<int>(i);
  }
  return -1;
}

bool mutually_reachable(const Topology& topology, const std::vector<int>& group) {
  for (const int from : group) {
    for (const int to : group) {
      if (from != to && !topology.link(from, to).reachable) return false;
    }
  }
  return true;
}

// Ranks of a stage talk to those of others, too: all of an instance are linked with each other.
bool all_linked(const Topology& topology, const std::vector<Stage>& stages) {
  std::vector<int> devices;
  for (const Stage& stage : stages) {
    for (const StageMember& member : stage.members) devices.push_back(member.device);
  }
  return mutually_reachable(topology, devices);
}

std::string kind_of(const std::vector<Stage>& stages) {
  const bool tensor = std::any_of(stages.begin(), stages.end(),
                                  [](const Stage& stage) { return stage.members.size() > 1; });
  if (stages.size() > 1) return tensor ? "pipeline+tensor" : "pipeline";
  return tensor ? "tensor" : "single";
}

// Collects the best placements; what ranks them is decode speed for one stream, throughput for several.
class Ranking {
 public:
  Ranking(const PricedModel& model, const Topology& topology, const Wishes& wishes)
      : model_(model), topology_(topology), wishes_(wishes) {}

  void consider(const Groups& groups) {
    cut(groups, Cut::kFastestFirst);
    if (groups.size() > 1 && wishes_.load.concurrency > 1) cut(groups, Cut::kEven);
  }

  void add(std::vector<Stage> stages) {
    if (wishes_.transport != kAnyTransport && !all_linked(topology_, stages)) return;
    Placement placement;
    placement.prediction = predict(model_, topology_, stages, wishes_.load);
    if (!std::isfinite(1 / placement.prediction.decode_tokens_per_s)) return;
    placement.stages = std::move(stages);
    const double score = score_of(placement);
    if (placements_.size() == kMaxPlacements && score <= score_of(placements_.back())) return;
    const auto at = std::upper_bound(
        placements_.begin(), placements_.end(), score,
        [this](double value, const Placement& other) { return value > score_of(other); });
    placements_.insert(at, std::move(placement));
    if (placements_.size() > kMaxPlacements) placements_.pop_back();
  }

  std::vector<Placement> take() { return std::move(placements_); }

 private:
  void cut(const Groups& groups, Cut how) {
    std::vector<Stage> stages = cut_layers(model_, topology_, groups, how, wishes_.load);
    if (!stages.empty()) add(std::move(stages));
  }

  double score_of(const Placement& placement) const {
    // A device more must earn its keep: equals rank by how few they need.
    const double speed = wishes_.load.concurrency > 1 ? placement.prediction.throughput_tokens_per_s
                                                      : placement.prediction.decode_tokens_per_s;
    return speed * (1 - 1e-6 * placement.device_count());
  }

  const PricedModel& model_;
  const Topology& topology_;
  const Wishes& wishes_;
  std::vector<Placement> placements_;
};

// Devices in an order that keeps hops short: each next one is the nearest (by round trip) to the last.
std::vector<int> chain(const Topology& topology, std::vector<int> devices) {
  for (size_t i = 1; i < devices.size(); ++i) {
    const auto nearest = std::min_element(
        devices.begin() + static_cast<ptrdiff_t>(i), devices.end(), [&](int a, int b) {
          const LinkFacts& to_a = topology.link(devices[i - 1], a);
          const LinkFacts& to_b = topology.link(devices[i - 1], b);
          if (to_a.reachable != to_b.reachable) return to_a.reachable;
          return to_a.round_trip_s < to_b.round_trip_s;
        });
    std::iter_swap(devices.begin() + static_cast<ptrdiff_t>(i), nearest);
  }
  return devices;
}

bool allowed(const Wishes& wishes, const Groups& groups) {
  const bool tensor =
      std::any_of(groups.begin(), groups.end(), [](const auto& g) { return g.size() > 1; });
  if (wishes.sharding == Sharding::kPipeline && tensor) return false;
  if (wishes.sharding == Sharding::kTensor && groups.size() > 1) return false;
  return true;
}

// Every way to part `devices` into groups, each by the restricted-growth rule: the next device joins a group there is,
// or opens one.
void partitions(const std::vector<int>& devices, size_t next, Groups& groups, const auto& visit) {
  if (next == devices.size()) {
    visit(groups);
    return;
  }
  for (size_t i = 0; i < groups.size(); ++i) {
    groups[i].push_back(devices[next]);
    partitions(devices, next + 1, groups, visit);
    groups[i].pop_back();
  }
  groups.push_back({devices[next]});
  partitions(devices, next + 1, groups, visit);
  groups.pop_back();
}

// What sets a device apart for the planner; devices alike in this are tried once.
struct Likeness {
  uint64_t memory;
  double read, math, kv, attention, layer, message;
  bool hides_sums;
  bool operator==(const Likeness&) const = default;
};
Likeness likeness(const DeviceFacts& d) {
  return {d.memory_available_bytes,     d.read_bytes_per_s, d.operations_per_s, d.kv_bytes_per_s,
          d.attention_operations_per_s, d.layer_s,          d.message_s,        d.hides_sums};
}

bool all_alike(const Topology& topology, const std::vector<int>& devices) {
  const auto close = [](double a, double b) { return std::abs(a - b) <= 1e-9 * std::max(a, b); };
  const LinkFacts* first = nullptr;
  for (const int a : devices) {
    if (!(likeness(topology.devices[static_cast<size_t>(a)]) ==
          likeness(topology.devices[static_cast<size_t>(devices[0])]))) {
      return false;
    }
    for (const int b : devices) {
      if (a == b) continue;
      const LinkFacts& link = topology.link(a, b);
      if (first == nullptr) first = &link;
      if (link.reachable != first->reachable || link.transport != first->transport ||
          !close(link.round_trip_s, first->round_trip_s) ||
          !close(link.message_s, first->message_s) ||
          !close(link.bytes_per_s, first->bytes_per_s)) {
        return false;
      }
    }
  }
  return true;
}

void search_all(const Topology& topology, const Wishes& wishes, const std::vector<int>& usable,
                Ranking& ranking) {
  const bool alike = all_alike(topology, usable);
  const auto count = static_cast<uint32_t>(usable.size());
  for (uint32_t mask = 1; mask < (1u << count); ++mask) {
    const int size = __builtin_popcount(mask);
    if (wishes.devices > 0 && size != wishes.devices) continue;
    if (alike && mask != (1u << size) - 1) continue;  // any set of equals is as good as the first
    std::vector<int> devices;
    for (uint32_t i = 0; i < count; ++i) {
      if (mask & (1u << i)) devices.push_back(usable[i]);
    }
    devices = chain(topology, std::move(devices));
    Groups groups;
    partitions(devices, 0, groups, [&](const Groups& parted) {
      if (!allowed(wishes, parted)) return;
      for (const auto& group : parted) {
        if (!mutually_reachable(topology, group)) return;
      }
      ranking.consider(parted);
    });
  }
}

// 1, 2, 3, 4, 6, 8, 12, 16, 24 ... up to n, and n itself: enough to find where more devices stop paying.
std::vector<size_t> group_counts(size_t n) {
  std::set<size_t> counts = {n};
  for (size_t c = 1; c <= n; c *= 2) {
    counts.insert(c);
    if (c * 3 / 2 <= n) counts.insert(c * 3 / 2);
  }
  return {counts.begin(), counts.end()};
}

// The fastest devices first, in groups of equals by speed and nearness.
void search_beam(const PricedModel& model, const Topology& topology, const Wishes& wishes,
                 std::vector<int> usable, Ranking& ranking) {
  std::stable_sort(usable.begin(), usable.end(), [&](int a, int b) {
    return topology.devices[static_cast<size_t>(a)].read_bytes_per_s >
           topology.devices[static_cast<size_t>(b)].read_bytes_per_s;
  });
  const size_t most_stages = model.layers.size();
  for (const size_t group_size : {1, 2, 3, 4, 6, 8, 16, 32}) {
    std::vector<size_t> counts = group_counts(std::min(usable.size() / group_size, most_stages));
    if (wishes.devices > 0) counts = {static_cast<size_t>(wishes.devices) / group_size};
    for (const size_t count : counts) {
      if (count == 0 || count > most_stages || count * group_size > usable.size()) continue;
      if (wishes.devices > 0 && count * group_size != static_cast<size_t>(wishes.devices)) continue;
      std::vector<int> taken(usable.begin(),
                             usable.begin() + static_cast<ptrdiff_t>(count * group_size));
      taken = chain(topology, std::move(taken));
      Groups groups;
      for (size_t i = 0; i < count; ++i) {
        groups.emplace_back(taken.begin() + static_cast<ptrdiff_t>(i * group_size),
                            taken.begin() + static_cast<ptrdiff_t>((i + 1) * group_size));
      }
      const bool reachable = std::all_of(groups.begin(), groups.end(), [&](const auto& group) {
        return mutually_reachable(topology, group);
      });
      if (reachable && allowed(wishes, groups)) ranking.consider(groups);
    }
  }
}

Result<std::vector<int>> usable_devices(const Topology& topology, const Wishes& wishes) {
  std::vector<int> usable;
  if (wishes.only.empty()) {
    usable.resize(topology.devices.size());
    std::iota(usable.begin(), usable.end(), 0);
  }
  for (const std::string& name : wishes.only) {
    const int device = find_device(topology, name);
    if (device < 0) return fail(Code::kInvalidArgument, "no device '{}' in the cluster", name);
    if (std::find(usable.begin(), usable.end(), device) == usable.end()) usable.push_back(device);
  }
  if (usable.empty()) return fail(Code::kUnavailable, "there is no device to place on");
  if (wishes.devices > static_cast<int32_t>(usable.size())) {
    return fail(Code::kInvalidArgument, "{} devices wanted, {} there", wishes.devices,
                usable.size());
  }
  return usable;
}

// Fractions as given, or by the devices' speeds where none are.
Result<void> share_by_hand(const PricedModel& model, const Topology& topology, const Load& load,
                           Stage& stage) {
  if (stage.members.size() == 1) {
    stage.members[0].fraction = 1;
    return {};
  }
  double sum = 0;
  std::vector<int> devices;
  for (const StageMember& member : stage.members) {
    sum += member.fraction;
    devices.push_back(member.device);
  }
  if (sum == 0) {
    stage.members =
        balance_fractions(model, topology, devices, stage.first_layer, stage.last_layer, load);
    if (!stage.members.empty()) return {};
    return fail(Code::kInvalidArgument,
                "{} devices cannot share layers {}..{}: {} heads, or too little memory",
                devices.size(), stage.first_layer, stage.last_layer, model.heads);
  }
  const bool fine = std::abs(sum - 1) < 1e-6 &&
                    std::all_of(stage.members.begin(), stage.members.end(),
                                [](const StageMember& member) { return member.fraction > 0; });
  if (fine) return {};
  return fail(Code::kInvalidArgument, "the fractions of layers {}..{} do not add up to 1",
              stage.first_layer, stage.last_layer);
}

Result<std::vector<Stage>> manual_stages(const PricedModel& model, const Topology& topology,
                                         const Wishes& wishes) {
  std::vector<Stage> stages;
  int32_t next = 0;
  for (const ManualStage& manual : wishes.manual) {
    const int device = find_device(topology, manual.device);
    if (device < 0)
      return fail(Code::kInvalidArgument, "no device '{}' in the cluster", manual.device);
    if (!stages.empty() && manual.first_layer == stages.back().first_layer &&
        manual.last_layer == next) {
      stages.back().members.push_back({device, manual.fraction});
      continue;
    }
    if (manual.first_layer != next || manual.last_layer <= manual.first_layer) {
      return fail(Code::kInvalidArgument,
                  "layers {}..{} of '{}' do not follow on: the next stage starts at layer {}",
                  manual.first_layer, manual.last_layer, manual.device, next);
    }
    stages.push_back({manual.first_layer, manual.last_layer, {{device, manual.fraction}}});
    next = manual.last_layer;
  }
  for (Stage& stage : stages) COHORT_TRY_VOID(share_by_hand(model, topology, wishes.load, stage));
  if (next != static_cast<int32_t>(model.layers.size())) {
    return fail(Code::kInvalidArgument, "the layers given end at {}, the model has {}", next,
                model.layers.size());
  }
  return stages;
}

// Names the member that lacks memory most, or says nothing when all fit.
std::string memory_error(const Topology& topology, const Placement& placement) {
  std::string error;
  uint64_t worst = 0;
  size_t index = 0;
  for (const Stage& stage : placement.stages) {
    for (const StageMember& member : stage.members) {
      const DeviceFacts& device = topology.devices[static_cast<size_t>(member.device)];
      const uint64_t needed = placement.prediction.memory_bytes[index++] + kReserveBytes;
      if (needed <= device.memory_available_bytes) continue;
      const uint64_t missing = needed - device.memory_available_bytes;
      if (missing <= worst) continue;
      worst = missing;
      error = fmt::format("{} needs {} and has {} available: {} missing", device.name,
                          format_bytes(needed), format_bytes(device.memory_available_bytes),
                          format_bytes(missing));
    }
  }
  return error;
}

std::string time_shares(const Prediction& p) {
  const double total = p.weights_s + p.sync_s + p.logits_s + p.hop_s + p.answer_s;
  std::string text = fmt::format("{:.2f} ms a token: {:.2f} ms reading weights and KV", total * 1e3,
                                 p.weights_s * 1e3);
  if (p.sync_s > 0) text += fmt::format(", {:.2f} ms in all-reduces", p.sync_s * 1e3);
  if (p.logits_s > 0)
    text += fmt::format(", {:.2f} ms until all logits are there", p.logits_s * 1e3);
  if (p.hop_s > 0) text += fmt::format(", {:.2f} ms in hops", p.hop_s * 1e3);
  text += fmt::format(", {:.2f} ms to the client", p.answer_s * 1e3);
  return text;
}

// Why devices cannot be linked by what was wished for; empty when they can.
std::string transport_error(const Topology& topology, const std::vector<int>& usable,
                            const Wishes& wishes) {
  if (wishes.transport == kAnyTransport) return "";
  for (const int a : usable) {
    for (const int b : usable) {
      if (a >= b || topology.link(a, b).reachable) continue;
      const auto& devices = topology.devices;
      const auto why = topology.why_unlinked.find({std::min(a, b), std::max(a, b)});
      std::string reason = why != topology.why_unlinked.end() ? ": " + why->second : "";
      if (wishes.transport == kTransports[kShm]) reason = ": they are not on the same host";
      return fmt::format("transport {} was wished for, and {} and {} cannot be linked by it{}",
                         wishes.transport, devices[static_cast<size_t>(a)].name,
                         devices[static_cast<size_t>(b)].name, reason);
    }
  }
  return "";
}

void explain(const Topology& topology, const std::vector<int>& usable, const Wishes& wishes,
             std::vector<Placement>& placements) {
  for (size_t i = 0; i < placements.size(); ++i) {
    Placement& placement = placements[i];
    placement.sharding = kind_of(placement.stages);
    placement.error = memory_error(topology, placement);
    placement.reason = time_shares(placement.prediction);
    if (i == 0 && placements.size() > 1) {
      const bool many = wishes.load.concurrency > 1;
      const auto speed = [many](const Placement& p) {
        return many ? p.prediction.throughput_tokens_per_s : p.prediction.decode_tokens_per_s;
      };
      placement.reason =
          fmt::format("fastest for {}, {:.0f}% ahead of the next; {}",
                      many ? "the streams wanted" : "one stream",
                      (speed(placement) / speed(placements[1]) - 1) * 100, placement.reason);
    }
  }
  const std::string left_out = transport_error(topology, usable, wishes);
  if (!left_out.empty()) placements[0].reason += "; " + left_out;
}

// No placement fits: the one that comes nearest, spread over every device by memory, so that the error has figures.
Placement closest_miss(const PricedModel& model, const Topology& topology,
                       const std::vector<int>& usable, const Wishes& wishes) {
  const Load& load = wishes.load;
  const auto largest = std::max_element(usable.begin(), usable.end(), [&](int a, int b) {
    return topology.devices[static_cast<size_t>(a)].memory_available_bytes <
           topology.devices[static_cast<size_t>(b)].memory_available_bytes;
  });
  Placement placement;
  placement.stages = {{0, static_cast<int32_t>(model.layers.size()), {{*largest, 1.0}}}};
  placement.prediction = predict(model, topology, placement.stages, load);
  uint64_t needed = 0;
  for (const uint64_t bytes : placement.prediction.memory_bytes) needed += bytes;
  uint64_t available = 0;
  for (const int device : usable) {
    const uint64_t memory = topology.devices[static_cast<size_t>(device)].memory_available_bytes;
    available += memory > kReserveBytes ? memory - kReserveBytes : 0;
  }
  placement.sharding = "single";
  placement.reason = "no placement fits";
  if (std::string error = transport_error(topology, usable, wishes); !error.empty()) {
    placement.error = std::move(error);
    return placement;
  }
  placement.error = fmt::format(
      "{} needs {} at a context of {} for {} streams; the {} devices have {} to give{}", model.name,
      format_bytes(needed), load.context, load.concurrency, usable.size(), format_bytes(available),
      needed > available
          ? fmt::format(": {} missing", format_bytes(needed - available))
          : fmt::format(
                ", but no cut of its {} layers and {} heads ({} for KV) fits what was asked for",
                model.layers.size(), model.heads, model.kv_heads));
  return placement;
}

}  // namespace

int Placement::device_count() const {
  size_t count = 0;
  for (const Stage& stage : stages) count += stage.members.size();
  return static_cast<int>(count);
}

Result<std::vector<Placement>> plan(const ModelCost& cost, const Topology& topology,
                                    const Wishes& wishes) {
  const PricedModel model(cost);
  COHORT_TRY(const std::vector<int> usable, usable_devices(topology, wishes));
  Ranking ranking(model, topology, wishes);
  if (!wishes.manual.empty()) {
    COHORT_TRY(std::vector<Stage> stages, manual_stages(model, topology, wishes));
    ranking.add(std::move(stages));
  } else if (usable.size() <= static_cast<size_t>(kExhaustiveDevices)) {
    search_all(topology, wishes, usable, ranking);
  } else {
    search_beam(model, topology, wishes, usable, ranking);
  }
  std::vector<Placement> placements = ranking.take();
  if (placements.empty()) return std::vector{closest_miss(model, topology, usable, wishes)};
  explain(topology, usable, wishes, placements);
  return placements;
}

}  // namespace cohort::cluster
