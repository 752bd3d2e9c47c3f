#include "cluster/leadership.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "cluster/neighbours.h"

namespace cohort::cluster {
namespace {

uint64_t minus(uint64_t a, uint64_t b) { return a - std::min(a, b); }

// Bytes a member's shard takes at the instance's wishes; 0 when the wishes are nonsense.
uint64_t planned_bytes(const InstancePlan& instance, const StagePlan& stage,
                       const MemberPlan& member) {
  const auto wishes = to_wishes(instance.wishes, instance.cost);
  if (!wishes) return 0;
  const PricedModel model(instance.cost);
  Stage priced{.first_layer = stage.first_layer, .last_layer = stage.last_layer};
  for (const MemberPlan& other : stage.members) priced.members.push_back({0, other.fraction});
  return member_memory_bytes(model, priced, {0, member.fraction}, wishes->load);
}

// What the plan gave this device to hold and it does not hold yet.
uint64_t promised_bytes(const DeviceDocument& device, const PlanDocument& plan,
                        const InstancePlan* moving) {
  uint64_t total = 0;
  for (const InstancePlan& instance : plan.instances) {
    if (moving != nullptr && instance.id == moving->id) continue;
    const ShardDocument* shard = device.shard(instance.id, instance.epoch);
    if (shard != nullptr && shard->state != "loading") continue;
    for (const StagePlan& stage : instance.stages) {
      for (const MemberPlan& member : stage.members) {
        if (member.device == device.id) total += planned_bytes(instance, stage, member);
      }
    }
  }
  return total;
}

uint64_t free_bytes(const DeviceDocument& device, const PlanDocument& plan,
                    const InstancePlan* moving) {
  uint64_t held = 0, held_by_moving = 0;
  for (const ShardDocument& shard : device.shards) {
    if (shard.state == "loading") continue;  // promised, see above
    const uint64_t bytes = shard.weight_bytes + shard.kv_bytes;
    held += bytes;
    if (moving != nullptr && shard.instance == moving->id) held_by_moving += bytes;
  }
  uint64_t bytes = device.memory_available_bytes + held_by_moving;
  if (device.memory_limit_bytes > 0) {
    bytes = std::min(bytes, minus(device.memory_limit_bytes, held - held_by_moving));
  }
  return minus(bytes, promised_bytes(device, plan, moving));
}

// Where there are more, no link is no sign: one is made when it is needed.
bool is_full_mesh(const Devices& devices) { return devices.size() <= kFullMeshUpTo; }

double or_assumed(double measured, double unit, double assumed) {
  return measured > 0 ? measured * unit : assumed;
}

LinkFacts tcp_facts(const LinkDocument* link, const LinkDocument* back) {
  LinkFacts facts{
      .reachable = true, .round_trip_s = kAssumedRoundTripS, .bytes_per_s = kAssumedLinkBytesPerS};
  for (const LinkDocument* measured : {link, back}) {
    if (measured == nullptr || measured->bandwidth_mbit_per_s <= 0) continue;
    facts.round_trip_s = measured->rtt_us_p50 * 1e-6;
    facts.bytes_per_s = measured->bandwidth_mbit_per_s * 1e6 / 8;
    facts.message_s = measured->message_us * 1e-6;
    break;
  }
  return facts;
}

// Only shared memory is sure to be there before it was measured.
LinkFacts way_facts(const WayDocument& way, uint8_t transport) {
  return {.reachable = transport == kShm || way.rtt_us_p50 > 0,
          .transport = transport,
          .round_trip_s = or_assumed(way.rtt_us_p50, 1e-6, kAssumedShmRoundTripS),
          .bytes_per_s = or_assumed(way.bandwidth_mbit_per_s, 1e6 / 8, kAssumedShmBytesPerS)};
}

// Of a message as all-reduces of one token send them.
double typical_seconds(const LinkFacts& facts) { return facts.path_seconds(kMessageBytes); }

// Between the same cores shared memory is the faster way: figures that say otherwise were taken on a busy machine.
LinkFacts at_least_as_fast(LinkFacts facts, const LinkFacts& as) {
  if (!as.reachable) return facts;
  facts.round_trip_s = std::min(facts.round_trip_s, as.round_trip_s);
  facts.bytes_per_s = std::max(facts.bytes_per_s, as.bytes_per_s);
  return facts;
}

// The fastest of the ways between two devices that the wish allows.
LinkFacts link_facts(const DeviceDocument& from, const DeviceDocument& to, bool full_mesh,
                     const TopologyWish& wish) {
  const LinkDocument* link = from.link(to.id);
  const LinkDocument* back = to.link(from.id);
  const auto allowed = [&](std::string_view name) {
    if (wish.without_rdma && is_rdma(name)) return false;
    return wish.transport == "auto" || wish.transport == name;
  };
  LinkFacts best, tcp;
  int choices = 0;
  if (!full_mesh || link != nullptr || back != nullptr) tcp = tcp_facts(link, back);
  if (tcp.reachable && allowed(kTransports[kTcp])) {
    best = tcp;
    ++choices;
  }
  for (const LinkDocument* side : {link, back}) {
    if (side == nullptr) continue;
    for (const WayDocument& way : side->ways) {
      const auto known = std::ranges::find(kTransports, way.transport);
      if (known == kTransports.end() || !allowed(way.transport)) continue;
      LinkFacts facts = way_facts(way, static_cast<uint8_t>(known - kTransports.begin()));
      choices += facts.reachable ? 1 : 0;
      if (facts.transport == kShm) facts = at_least_as_fast(facts, tcp);
      const bool is_shm = facts.transport == kShm && best.transport == kTcp;
      if (is_shm || typical_seconds(facts) < typical_seconds(best)) best = facts;
    }
  }
  best.decided = choices > 1;
  return best;
}

// What is in the way of linking two devices by RDMA, as they say; else as their ports tell.
std::string why_no_rdma(const DeviceDocument& a, const DeviceDocument& b,
                        std::string_view transport) {
  for (const LinkDocument* side : {a.link(b.id), b.link(a.id)}) {
    if (side == nullptr) continue;
    for (const MissingWayDocument& missing : side->missing_ways) {
      if (missing.transport == transport) return missing.reason;
    }
  }
  for (const DeviceDocument* device : {&a, &b}) {
    if (std::ranges::any_of(device->rdma.ports, &RdmaPortDocument::usable)) continue;
    if (device->rdma.ports.empty()) return fmt::format("{} has no RDMA port", device->name);
    return fmt::format("no RDMA port of {} is active and has an address", device->name);
  }
  return "the two have not been measured yet";
}

void explain_unlinked(const std::vector<const DeviceDocument*>& documents,
                      std::string_view transport, Topology& topology) {
  constexpr size_t kMostReasons = 1024;  // among very many devices one is as good as all
  if (!is_rdma(transport)) return;
  for (size_t a = 0; a < documents.size(); ++a) {
    for (size_t b = a + 1; b < documents.size(); ++b) {
      const std::pair pair(static_cast<int>(a), static_cast<int>(b));
      if (topology.link(pair.first, pair.second).reachable) continue;
      topology.why_unlinked[pair] = why_no_rdma(*documents[a], *documents[b], transport);
      if (topology.why_unlinked.size() == kMostReasons) return;
    }
  }
}

bool has_rdma(const Devices& devices) {
  return std::ranges::any_of(devices, [](const auto& device) {
    return std::ranges::any_of(device.second.links, [](const LinkDocument& link) {
      return std::ranges::any_of(link.ways, [](const WayDocument& way) {
        return is_rdma(way.transport) && way.rtt_us_p50 > 0;
      });
    });
  });
}

bool uses_rdma(const Topology& topology) {
  return std::ranges::any_of(topology.links, [](const LinkFacts& link) {
    return link.reachable && is_rdma(kTransports[link.transport]);
  });
}

// Whether the device that drives an instance has this member: live, staying, and linked with it.
bool has_member(const InstancePlan& instance, const DeviceId& member, const Devices& devices) {
  const auto driver = devices.find(driver_of(instance)), found = devices.find(member);
  if (found == devices.end() || found->second.leaving) return false;
  if (driver == devices.end() || driver == found) return true;  // without a driver nobody is linked
  if (!is_full_mesh(devices)) return true;
  return driver->second.link(member) != nullptr || found->second.link(driver->first) != nullptr;
}

struct WeightRates {
  double bytes_per_s = 0;       // one token at a time
  double own_byte_s = 0;        // as in DeviceFacts
  double operations_per_s = 0;  // many rows at once
};

// What memory gives now, of what it gave when the device was measured.
double memory_mood(const DeviceDocument& device) {
  const bool is_known = device.memory.read_gb_per_s > 0 && device.step.read_gb_per_s > 0;
  return is_known ? device.memory.read_gb_per_s / device.step.read_gb_per_s : 1;
}

// A byte of weights in a format's kernels: memory's time, which changes, and their own, which does not.
struct ByteCost {
  double total_s = 0, own_s = 0;
};
ByteCost byte_cost(const DeviceDocument& device, const FormatSpeed& speed) {
  const double then = device.step.read_gb_per_s * 1e9;
  if (then <= 0) return {.total_s = 1 / (speed.gb_per_s * 1e9)};
  const double own_s = own_byte_seconds(speed.gb_per_s * 1e9, then);
  return {.total_s = own_s + 1 / (then * memory_mood(device)), .own_s = own_s};
}

// The slowest of what is wanted decides little where it is a small share: times add up, not rates.
WeightRates weight_rates(const DeviceDocument& device, const ModelCost* model) {
  const WeightRates plain = {
      .bytes_per_s =
          or_assumed(device.read_gb_per_s, memory_mood(device) * 1e9, kAssumedReadBytesPerS),
      .operations_per_s = or_assumed(device.matmul_gops, 1e9, kAssumedOperationsPerS)};
  if (model == nullptr || model->formats.empty()) return plain;
  ByteCost byte;
  double operation_s = 0;
  for (const FormatShare& share : model->formats) {
    const auto& formats = device.step.formats;
    const auto known = std::find_if(formats.begin(), formats.end(), [&](const FormatSpeed& speed) {
      return speed.format == share.format && speed.gb_per_s > 0 && speed.prefill_gops > 0;
    });
    const bool measured = known != formats.end();
    const ByteCost cost =
        measured ? byte_cost(device, *known) : ByteCost{.total_s = 1 / plain.bytes_per_s};
    byte.total_s += share.bytes * cost.total_s;
    byte.own_s += share.bytes * cost.own_s;
    operation_s +=
        share.operations / (measured ? known->prefill_gops * 1e9 : plain.operations_per_s);
  }
  return {byte.total_s > 0 ? 1 / byte.total_s : plain.bytes_per_s, byte.own_s,
          operation_s > 0 ? 1 / operation_s : plain.operations_per_s};
}

DeviceFacts device_facts(const DeviceDocument& device, const WeightRates& rates) {
  return {.id = device.id,
          .name = device.name,
          .read_bytes_per_s = rates.bytes_per_s,
          .own_byte_s = rates.own_byte_s,
          .kv_bytes_per_s = or_assumed(device.step.kv_gb_per_s, memory_mood(device) * 1e9, 0),
          .operations_per_s = rates.operations_per_s,
          .attention_operations_per_s = device.step.attention_gops * 1e9,
          .layer_s = device.step.layer_us * 1e-6,
          .step_s = device.step.step_us * 1e-6,
          .message_s = device.step.message_us * 1e-6,
          .message_byte_s = device.step.message_us_per_kib * 1e-6 / 1024,
          .hides_sums = device.step.hides_sums};
}

// What memory gives all devices of a machine together: as they have just measured, all at once, or else as calibrated.
double shared_gb_per_s(const std::vector<const DeviceDocument*>& mates) {
  constexpr int64_t kSameTimeMs = 2000;
  const auto [first, last] =
      std::minmax_element(mates.begin(), mates.end(), [](const auto* a, const auto* b) {
        return a->memory.measured_unix_ms < b->memory.measured_unix_ms;
      });
  const int64_t began_ms = (*first)->memory.measured_unix_ms;
  if (began_ms == 0 || (*last)->memory.measured_unix_ms - began_ms > kSameTimeMs)
    return mates.front()->step.machine_read_gb_per_s;
  double sum = 0;
  for (const DeviceDocument* mate : mates) sum += mate->memory.together_gb_per_s;
  return sum;
}

// Devices of one kernel share its memory's bandwidth.
void share_machines(const std::vector<const DeviceDocument*>& documents, Topology& topology) {
  std::map<std::string, std::vector<const DeviceDocument*>> machines;
  for (const DeviceDocument* document : documents) machines[document->machine].push_back(document);
  machines.erase("");
  for (size_t i = 0; i < documents.size(); ++i) {
    const auto machine = machines.find(documents[i]->machine);
    if (machine == machines.end()) continue;
    DeviceFacts& facts = topology.devices[i];
    facts.machine = static_cast<int32_t>(std::distance(machines.begin(), machine));
    facts.machine_bytes_per_s = shared_gb_per_s(machine->second) * 1e9;
  }
}

bool is_whole(const InstancePlan& instance, const Devices& devices) {
  const auto ranks = ranks_of(instance);
  return std::all_of(ranks.begin(), ranks.end(), [&](const RankPlan& rank) {
    return has_member(instance, rank.member.device, devices);
  });
}

bool all_live(const InstancePlan& instance, const Devices& devices) {
  const auto ranks = ranks_of(instance);
  return std::all_of(ranks.begin(), ranks.end(), [&](const RankPlan& rank) {
    return devices.find(rank.member.device) != devices.end();
  });
}

// Which of its members went, in words.
std::string who_left(const InstancePlan& instance, const Devices& devices) {
  std::string names;
  for (const RankPlan& rank : ranks_of(instance)) {
    if (has_member(instance, rank.member.device, devices)) continue;
    if (!names.empty()) names += ", ";
    names += rank.member.name;
  }
  return names;
}

// The wishes as far as the devices that are left can honour them, the dearest first: running at all comes before all.
std::vector<InstanceWishes> wishes_by_healing(InstanceWishes wishes, const Topology& topology) {
  std::erase_if(wishes.only, [&](const std::string& wanted) {
    return std::none_of(topology.devices.begin(), topology.devices.end(), [&](const auto& device) {
      return device.id == wanted || device.name == wanted;
    });
  });
  std::vector<InstanceWishes> all{wishes};
  wishes.devices = 0;
  wishes.manual.clear();
  all.push_back(wishes);
  wishes.sharding = "auto";
  all.push_back(wishes);
  return all;
}

InstancePlan heal_instance(const InstancePlan& old, const PlanDocument& plan,
                           const Devices& devices) {
  const Topology topology = topology_of(
      devices, plan, {.moving = &old, .transport = old.wishes.transport, .model = &old.cost});
  Result<InstancePlan> healed = fail(Code::kUnavailable, "no device is left");
  for (const InstanceWishes& wishes : wishes_by_healing(old.wishes, topology)) {
    healed = place_instance(old.id, old.model, old.cost, wishes, topology);
    if (healed) break;
  }
  InstancePlan next = healed.value_or(old);
  next.wishes = old.wishes;
  next.epoch = old.epoch + 1;
  next.heals = old.heals + 1;
  if (!healed) {
    next.failed = true;
    next.stages.clear();
    next.pairs.clear();
    next.reason =
        fmt::format("device {} left, and {}", who_left(old, devices), healed.error().message);
  }
  return next;
}

}  // namespace

Topology topology_of(const Devices& devices, const PlanDocument& plan, const TopologyWish& wish) {
  std::vector<const DeviceDocument*> usable;
  for (const auto& [id, device] : devices) {
    if (device.worker && !device.leaving) usable.push_back(&device);
  }
  Topology topology;
  for (const DeviceDocument* device : usable) {
    topology.devices.push_back(device_facts(*device, weight_rates(*device, wish.model)));
    topology.devices.back().memory_available_bytes = free_bytes(*device, plan, wish.moving);
  }
  share_machines(usable, topology);
  for (const DeviceDocument* from : usable) {
    for (const DeviceDocument* to : usable)
      topology.links.push_back(link_facts(*from, *to, is_full_mesh(devices), wish));
  }
  explain_unlinked(usable, wish.transport, topology);
  return topology;
}

std::string rdma_worth(const Devices& devices, const PlanDocument& plan, const TopologyWish& wish,
                       const InstanceWishes& wishes, const Placement& best) {
  if (wish.transport != "auto" && !is_rdma(wish.transport)) return "";
  if (!has_rdma(devices) || wish.model == nullptr || !best.error.empty()) return "";
  if (!uses_rdma(topology_of(devices, plan, wish)))
    return "RDMA: no pair of devices is faster by it than by what it has besides";
  const bool many = wishes.concurrency > 1;
  const auto speed = [many](const Placement& p) {
    return many ? p.prediction.throughput_tokens_per_s : p.prediction.decode_tokens_per_s;
  };
  InstanceWishes free = wishes;
  free.transport = "auto";
  const Topology without = topology_of(
      devices, plan, {.moving = wish.moving, .model = wish.model, .without_rdma = true});
  const auto others = placements_of(*wish.model, free, without);
  if (!others || others->empty() || !others->front().error.empty())
    return fmt::format("RDMA: {:.1f} tok/s with it; without, no placement fits", speed(best));
  const Placement& other = others->front();
  const double gain = speed(best) / speed(other) - 1;
  const std::string text = fmt::format(
      "RDMA: {:.1f} tok/s with it, {:.1f} without ({} on {} device{})", speed(best), speed(other),
      other.sharding, other.device_count(), other.device_count() == 1 ? "" : "s");
  if (std::abs(gain) < 0.005) return text + ": it is worth nothing here";
  return text +
         fmt::format(": it {} {:.0f}%", gain > 0 ? "is worth" : "costs", std::abs(gain) * 100);
}

Result<std::vector<Placement>> placements_of(const ModelCost& cost, const InstanceWishes& wishes,
                                             const Topology& topology) {
  if (topology.devices.empty()) {
    return fail(Code::kUnavailable, "no device takes models (all run with --no-worker or leave)");
  }
  COHORT_TRY(const Wishes wanted, to_wishes(wishes, cost));
  return plan(cost, topology, wanted);
}

Result<InstancePlan> place_instance(std::string id, std::string model, const ModelCost& cost,
                                    const InstanceWishes& wishes, const Topology& topology) {
  COHORT_TRY(const std::vector<Placement> placements, placements_of(cost, wishes, topology));
  if (placements.empty()) {
    return fail(Code::kUnavailable, "model '{}' can be placed in no way that was asked for", model);
  }
  const Placement& best = placements.front();
  if (!best.error.empty()) return fail(Code::kUnavailable, "model '{}': {}", model, best.error);
  InstancePlan instance{.id = std::move(id),
                        .model = std::move(model),
                        .sharding = best.sharding,
                        .wishes = wishes,
                        .reason = best.reason,
                        .cost = cost};
  instance.predicted = {best.prediction.time_to_first_token_s * 1e3,
                        best.prediction.decode_tokens_per_s,
                        best.prediction.throughput_tokens_per_s};
  instance.stages = stages_of(best, topology);
  instance.pairs = pairs_of(best, topology);
  return instance;
}

std::optional<PlanDocument> heal(const PlanDocument& plan, const Devices& devices) {
  PlanDocument healed = plan;
  bool changed = false;
  for (InstancePlan& instance : healed.instances) {
    if (instance.failed || is_whole(instance, devices)) continue;
    InstancePlan next = heal_instance(instance, healed, devices);
    // One that only leaves serves on while nobody else can.
    if (next.failed && all_live(instance, devices)) continue;
    instance = std::move(next);
    changed = true;
  }
  if (!changed) return std::nullopt;
  return healed;
}

std::optional<PlanDocument> adopt(const PlanDocument& plan, const PlanDocument& orphans) {
  PlanDocument adopted = plan;
  bool changed = false;
  for (const InstancePlan& orphan : orphans.instances) {
    InstancePlan* ours = adopted.find(orphan.id);
    if (ours == nullptr) {
      adopted.instances.push_back(orphan);
    } else if (orphan.epoch > ours->epoch || (ours->failed && !orphan.failed)) {
      const uint64_t epoch = std::max(orphan.epoch, ours->epoch + 1);
      *ours = orphan;
      ours->epoch = epoch;
    } else {
      continue;
    }
    changed = true;
  }
  if (!changed) return std::nullopt;
  return adopted;
}

}  // namespace cohort::cluster
