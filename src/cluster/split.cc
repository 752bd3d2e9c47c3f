#include "cluster/split.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace cohort::cluster {
namespace {

uint64_t budget_bytes(const DeviceFacts& device) {
  return device.memory_available_bytes > kReserveBytes
             ? device.memory_available_bytes - kReserveBytes
             : 0;
}

// Heads move in whole steps: KV heads while there is one for every rank, query heads beyond that.
int32_t head_steps(const PricedModel& model, size_t ranks) {
  const int32_t steps =
      model.kv_heads >= static_cast<int32_t>(ranks) ? model.kv_heads : model.heads;
  return std::max<int32_t>(steps, 1);
}

bool fits(const PricedModel& model, const Topology& topology, const Stage& stage,
          const StageMember& member, const Load& load) {
  return member_memory_bytes(model, stage, member, load) <=
         budget_bytes(topology.devices[static_cast<size_t>(member.device)]);
}

// The most steps of `total` a device can hold.
int32_t most_steps(const PricedModel& model, const Topology& topology, const Stage& stage,
                   int device, int32_t total, const Load& load) {
  int32_t low = 0;
  int32_t high = total;
  while (low < high) {
    const int32_t middle = (low + high + 1) / 2;
    const StageMember member{device, static_cast<double>(middle) / total};
    if (fits(model, topology, stage, member, load)) {
      low = middle;
    } else {
      high = middle - 1;
    }
  }
  return low;
}

// Steps in proportion to `rates`, at least one and at most `caps` each; empty when the caps do not add up to `total`.
std::vector<int32_t> share_steps(int32_t total, const std::vector<double>& rates,
                                 const std::vector<int32_t>& caps) {
  if (std::accumulate(caps.begin(), caps.end(), int64_t{0}) < total) return {};
  std::vector<int32_t> steps(rates.size(), 1);
  for (const int32_t cap : caps) {
    if (cap < 1) return {};
  }
  // One step at a time to whoever would finish it first: the classic greedy rule for equal finishing times.
  for (int32_t left = total - static_cast<int32_t>(rates.size()); left > 0; --left) {
    size_t best = rates.size();
    double best_finish = 0;
    for (size_t i = 0; i < rates.size(); ++i) {
      if (steps[i] >= caps[i]) continue;
      const double finish = (steps[i] + 1) / rates[i];
      if (best == rates.size() || finish < best_finish) {
        best = i;
        best_finish = finish;
      }
    }
    ++steps[best];
  }
  return steps;
}

// Layers a group can hold from `first` on, its read rate being the sum of its members'.
struct GroupRate {
  double read_bytes_per_s = 0;
  int32_t most_layers = 0;
};

GroupRate rate_of(const PricedModel& model, const Topology& topology, const std::vector<int>& group,
                  const Load& load) {
  GroupRate rate;
  double budget = 0;
  for (const int device : group) {
    const DeviceFacts& facts = topology.devices[static_cast<size_t>(device)];
    rate.read_bytes_per_s += facts.read_bytes_per_s;
    budget += static_cast<double>(budget_bytes(facts));
  }
  // Every group is charged for embedding and head: which one is first and last is not known yet.
  const double fixed =
      static_cast<double>(model.embedding_bytes * group.size() + model.head_bytes) +
      10.0 * kPrefillChunk * model.width * sizeof(float) * static_cast<double>(group.size());
  const double largest =
      static_cast<double>(model.largest.weight_bytes) +
      static_cast<double>(model.largest.kv_bytes_per_token) * load.context * load.concurrency;
  const double room = std::max(0.0, budget - fixed) / std::max(largest, 1.0);
  rate.most_layers =
      static_cast<int32_t>(std::min<double>(room, static_cast<double>(model.layers.size())));
  return rate;
}

std::vector<int32_t> fastest_first(int32_t layers, const std::vector<GroupRate>& rates) {
  std::vector<size_t> order(rates.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return rates[a].read_bytes_per_s > rates[b].read_bytes_per_s;
  });
  std::vector<int32_t> counts(rates.size(), 1);
  int32_t left = layers - static_cast<int32_t>(rates.size());
  for (const size_t group : order) {
    const int32_t more = std::clamp(rates[group].most_layers - 1, 0, std::max(left, 0));
    counts[group] += more;
    left -= more;
  }
  return left > 0 ? std::vector<int32_t>{} : counts;
}

std::vector<int32_t> evenly(int32_t layers, const std::vector<GroupRate>& rates) {
  std::vector<double> speeds;
  std::vector<int32_t> caps;
  for (const GroupRate& rate : rates) {
    speeds.push_back(rate.read_bytes_per_s);
    caps.push_back(rate.most_layers);
  }
  return share_steps(layers, speeds, caps);
}

}  // namespace

std::vector<StageMember> balance_fractions(const PricedModel& model, const Topology& topology,
                                           const std::vector<int>& devices, int32_t first_layer,
                                           int32_t last_layer, const Load& load) {
  const int32_t total = head_steps(model, devices.size());
  if (static_cast<size_t>(total) < devices.size()) return {};
  const Stage stage{first_layer, last_layer, {}};
  std::vector<double> rates;
  std::vector<int32_t> caps;
  for (const int device : devices) {
    rates.push_back(topology.devices[static_cast<size_t>(device)].read_bytes_per_s);
    caps.push_back(most_steps(model, topology, stage, device, total, load));
  }
  const std::vector<int32_t> steps = share_steps(total, rates, caps);
  std::vector<StageMember> members;
  for (size_t i = 0; i < steps.size(); ++i) {
    members.push_back({devices[i], static_cast<double>(steps[i]) / total});
  }
  return members;
}

std::vector<Stage> cut_layers(const PricedModel& model, const Topology& topology,
                              const std::vector<std::vector<int>>& groups, Cut cut,
                              const Load& load) {
  const auto layers = static_cast<int32_t>(model.layers.size());
  if (static_cast<int32_t>(groups.size()) > layers) return {};
  std::vector<GroupRate> rates;
  for (const auto& group : groups) {
    rates.push_back(rate_of(model, topology, group, load));
    if (rates.back().most_layers < 1) return {};
  }
  const std::vector<int32_t> counts =
      cut == Cut::kFastestFirst ? fastest_first(layers, rates) : evenly(layers, rates);
  std::vector<Stage> stages;
  int32_t first = 0;
  for (size_t i = 0; i < counts.size(); ++i) {
    Stage stage{first, first + counts[i], {}};
    stage.members =
        balance_fractions(model, topology, groups[i], stage.first_layer, stage.last_layer, load);
    if (stage.members.empty()) return {};
    first = stage.last_layer;
    stages.push_back(std::move(stage));
  }
  return stages;
}

}  // namespace cohort::cluster
