#include "cluster/cost.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

namespace cohort::cluster {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr int kSyncsPerLayer = 2;  // after attention and after the feed-forward

// Sums over a stage's layers; the head counts to the last stage's work.
struct StageWork {
  double touched_bytes = 0;
  double operations = 0;
  double head_operations = 0;  // for each row that wants logits
  double kv_bytes_per_token = 0;
  double position_operations = 0;
  uint64_t held_bytes = 0;
};

StageWork work_of(const PricedModel& model, const Stage& stage) {
  const LayerCost& first = model.before[static_cast<size_t>(stage.first_layer)];
  const LayerCost& last = model.before[static_cast<size_t>(stage.last_layer)];
  StageWork work{
      .touched_bytes = static_cast<double>(last.touched_bytes - first.touched_bytes),
      .operations = last.operations - first.operations,
      .kv_bytes_per_token = static_cast<double>(last.kv_bytes_per_token - first.kv_bytes_per_token),
      .position_operations = last.position_operations - first.position_operations,
      .held_bytes = last.weight_bytes - first.weight_bytes};
  if (stage.last_layer == static_cast<int32_t>(model.layers.size())) {
    work.touched_bytes += static_cast<double>(model.head_bytes);
    work.head_operations = model.head_operations;
    work.held_bytes += model.head_bytes;
  }
  return work;
}

// KV heads are shared out like the query heads, but never below one each.
double kv_fraction(const PricedModel& model, double fraction) {
  if (model.kv_heads <= 0) return fraction;
  return std::min(1.0, std::ceil(fraction * model.kv_heads - 1e-9) / model.kv_heads);
}

// Positions behind a token that is decoded.
double past_tokens(const Load& load) {
  return std::min<double>(load.context, load.prompt + load.answer / 2.0);
}

// Of a decoded row on a member: its attention reads the cache of what stands before it.
double past_reading_seconds(const PricedModel& model, const StageWork& work, const Load& load,
                            const StageMember& member, const DeviceFacts& device) {
  const double kv_bytes = work.kv_bytes_per_token * past_tokens(load);
  const double rate = device.kv_bytes_per_s > 0 ? device.kv_bytes_per_s : device.read_bytes_per_s;
  return kv_bytes * kv_fraction(model, member.fraction) / rate;
}

// Of a prompt's row on a member: many rows compute more than they read. What stands before their chunk is half of the other
// chunks; what the rows do among themselves is in the matmuls' measured rate.
double past_computing_seconds(const StageWork& work, const Load& load, double chunk_rows,
                              const StageMember& member, const DeviceFacts& device) {
  const double past = std::max(0.0, load.prompt - chunk_rows) / 2;
  const double rate = device.attention_operations_per_s > 0 ? device.attention_operations_per_s
                                                            : device.operations_per_s;
  return past * work.position_operations * member.fraction / rate;
}

// The time in which the memory of a member's machine gives all of the stage's members there what they read, and the member
// does its own part of it.
double shared_read_seconds(const Topology& topology, const Stage& stage, const StageWork& work,
                           const StageMember& member) {
  const DeviceFacts& device = topology.devices[static_cast<size_t>(member.device)];
  if (device.machine < 0 || device.machine_bytes_per_s <= 0) return 0;
  double fraction = 0;
  for (const StageMember& other : stage.members) {
    const DeviceFacts& facts = topology.devices[static_cast<size_t>(other.device)];
    if (facts.machine == device.machine) fraction += other.fraction;
  }
  const bool is_alone = fraction <= member.fraction;
  if (is_alone) return 0;
  return work.touched_bytes *
         (fraction / device.machine_bytes_per_s + member.fraction * device.own_byte_s);
}

// One step of `rows` tokens on the slowest member of a stage.
double compute_seconds(const PricedModel& model, const Topology& topology, const Stage& stage,
                       const StageWork& work, const Load& load, double rows, bool decode) {
  const double logits_rows = decode ? rows : 1;  // of a prompt only the last row's are wanted
  const double operations = rows * work.operations + logits_rows * work.head_operations;
  double slowest = 0;
  for (const StageMember& member : stage.members) {
    const DeviceFacts& device = topology.devices[static_cast<size_t>(member.device)];
    const double read = std::max(work.touched_bytes * member.fraction / device.read_bytes_per_s,
                                 shared_read_seconds(topology, stage, work, member));
    const double math = operations * member.fraction / device.operations_per_s;
    const double fixed = device.step_s + (stage.last_layer - stage.first_layer) * device.layer_s;
    const double attention = decode
                                 ? rows * past_reading_seconds(model, work, load, member, device)
                                 : rows * past_computing_seconds(work, load, rows, member, device);
    slowest = std::max(slowest, std::max(read, math) + attention + fixed);
  }
  return slowest;
}

// A message of `bytes` from one device to another: its way, and the work at both ends, which only TCP has: elsewhere the
// link's times hold it. Infinite when there is no way.
double message_seconds(const Topology& topology, int from, int to, double bytes) {
  const LinkFacts& link = topology.link(from, to);
  const double path_s = link.path_seconds(bytes);
  if (link.transport != kTcp) return path_s;
  const DeviceFacts& sender = topology.devices[static_cast<size_t>(from)];
  return path_s + sender.message_s + bytes * sender.message_byte_s;
}

// As transport/group.cc does it: few or small, each sends all to every other at once; else each sums a share and sends it
// round. `seconds(from, to, bytes)` prices a message.
template <class Seconds>
double reduce_seconds(const std::vector<StageMember>& members, double bytes, Seconds seconds) {
  const auto count = static_cast<double>(members.size());
  if (count < 2) return 0;
  const bool direct = count == 2 || (count - 1) * (count - 2) * bytes <= count * kBytesPerLatency;
  const double part = direct ? bytes : bytes / count;
  double slowest = 0;
  for (const StageMember& from : members) {
    double last = 0, others = 0;  // the parts leave one after the other
    for (const StageMember& to : members) {
      if (from.device == to.device) continue;
      const double first = seconds(from.device, to.device, 0.0);
      if (first == kInfinity) return kInfinity;
      last = std::max(last, first);
      others += seconds(from.device, to.device, part) - first;
    }
    slowest = std::max(slowest, last + others);
  }
  return direct ? slowest : 2 * slowest;
}

// What of a prompt's sums is hidden where the ranks compute one half of the rows while the other half's sums travel: of
// the work and of their way the shorter, but for one half of a sum. Shared memory is the ranks' own work.
double hidden_seconds(const PricedModel& model, const Topology& topology,
                      const std::vector<Stage>& stages, const Load& load, double rows,
                      double work_s) {
  const std::vector<StageMember>& members = stages.front().members;
  if (stages.size() > 1 || members.size() < 2 || rows < kLeastHalvedRows) return 0;
  for (const StageMember& member : members) {
    if (!topology.devices[static_cast<size_t>(member.device)].hides_sums) return 0;
  }
  const double sums = kSyncsPerLayer * static_cast<double>(model.layers.size());
  const double travel_s =
      sums * reduce_seconds(members, rows * model.width * load.wire_bytes,
                            [&](int from, int to, double bytes) {
                              const LinkFacts& link = topology.link(from, to);
                              return link.transport == kShm ? 0 : link.path_seconds(bytes);
                            });
  return std::min(work_s, travel_s) * (1 - 1 / (2 * sums));
}

double sync_seconds(const PricedModel& model, const Topology& topology, const Stage& stage,
                    const Load& load, double rows) {
  if (stage.members.size() < 2) return 0;
  const double bytes = rows * model.width * load.wire_bytes;
  return kSyncsPerLayer * (stage.last_layer - stage.first_layer) *
         all_reduce_seconds(topology, stage.members, bytes);
}

// What the last stage's first member waits, when its own part of the head is done, for the others' logits. Each of them
// sends a piece while it computes the next (models/decoder.cc), so the slower of the two hides the other but for a piece.
double logits_seconds(const PricedModel& model, const Topology& topology, const Stage& last,
                      const Load& load, double rows, double head_s) {
  if (last.members.size() < 2 || model.width <= 0) return 0;
  constexpr double kPieces = 8;
  const double vocabulary = model.head_operations / (2.0 * model.width);
  const int driver = last.members.front().device;
  double sending = 0;  // one after the other into the driver's end of the cable
  for (const StageMember& member : std::span(last.members).subspan(1)) {
    const double bytes = rows * vocabulary * member.fraction * load.wire_bytes;
    sending += message_seconds(topology, member.device, driver, bytes);
  }
  return std::max(sending / kPieces, sending - head_s * (1 - 1 / kPieces));
}

// The residual stream of `rows` tokens from one stage's first member to the next stage's slowest to reach.
double hop_seconds(const PricedModel& model, const Topology& topology, const Stage& from,
                   const Stage& to, const Load& load, double rows) {
  const double bytes = rows * model.width * load.wire_bytes;
  double slowest = 0;
  for (const StageMember& member : to.members) {
    const int source = from.members.front().device;
    if (source == member.device) continue;
    slowest = std::max(slowest, message_seconds(topology, source, member.device, bytes) + kWakeUpS);
  }
  return slowest;
}

struct StepTimes {
  std::vector<double> stages;  // compute and syncs of each
  double weights = 0, syncs = 0, logits = 0, hops = 0, answer = 0;
  double total() const { return weights + syncs + logits + hops + answer; }
  double slowest() const { return *std::max_element(stages.begin(), stages.end()); }
};

// The step's tokens on their way from rank 0, on the last stage, to the first stage's other members and its own.
double command_seconds(const Topology& topology, const std::vector<Stage>& stages) {
  const int driver = stages.back().members.front().device;
  double slowest = 0;
  for (const StageMember& member : stages.front().members) {
    if (member.device == driver) continue;
    const double asleep = stages.size() > 1 ? kWakeUpS : 0;
    slowest = std::max(slowest, message_seconds(topology, driver, member.device, 0) + asleep);
  }
  return slowest;
}

StepTimes step_times(const PricedModel& model, const Topology& topology,
                     const std::vector<Stage>& stages, const Load& load, double rows, bool decode) {
  StepTimes times;
  for (size_t i = 0; i < stages.size(); ++i) {
    const StageWork work = work_of(model, stages[i]);
    const double compute = compute_seconds(model, topology, stages[i], work, load, rows, decode);
    const double syncs = sync_seconds(model, topology, stages[i], load, rows);
    times.stages.push_back(compute + syncs);
    times.weights += compute;
    times.syncs += syncs;
    if (i > 0) times.hops += hop_seconds(model, topology, stages[i - 1], stages[i], load, rows);
    if (i + 1 < stages.size()) continue;
    const double head_share = work.touched_bytes > 0 ? model.head_bytes / work.touched_bytes : 0;
    times.logits = logits_seconds(model, topology, stages[i], load, decode ? rows : 1,
                                  decode ? compute * head_share : 0);
    if (decode) times.stages.back() += times.logits;
  }
  times.hops += command_seconds(topology, stages);
  if (decode) times.answer = kAnswerTokenS;
  return times;
}

}  // namespace

PricedModel::PricedModel(ModelCost model) : ModelCost(std::move(model)) {
  before.push_back({});
  for (const LayerCost& layer : layers) {
    LayerCost sum = before.back();
    sum.weight_bytes += layer.weight_bytes;
    sum.touched_bytes += layer.touched_bytes;
    sum.operations += layer.operations;
    sum.kv_bytes_per_token += layer.kv_bytes_per_token;
    sum.position_operations += layer.position_operations;
    before.push_back(sum);
    largest.weight_bytes = std::max(largest.weight_bytes, layer.weight_bytes);
    largest.kv_bytes_per_token = std::max(largest.kv_bytes_per_token, layer.kv_bytes_per_token);
    largest.position_operations = std::max(largest.position_operations, layer.position_operations);
  }
}

double own_byte_seconds(double bytes_per_s, double memory_bytes_per_s) {
  if (bytes_per_s <= 0 || memory_bytes_per_s <= bytes_per_s) return 0;
  return 1 / bytes_per_s - 1 / memory_bytes_per_s;
}

double LinkFacts::path_seconds(double bytes) const {
  if (!reachable || bytes_per_s <= 0) return kInfinity;
  const double empty_s = round_trip_s / 2;
  const double measured_bytes = message_s > empty_s ? std::min(bytes, kMessageBytes) : 0;
  return empty_s + (message_s - empty_s) * measured_bytes / kMessageBytes +
         (bytes - measured_bytes) / bytes_per_s;
}

double all_reduce_seconds(const Topology& topology, const std::vector<StageMember>& members,
                          double bytes) {
  return reduce_seconds(members, bytes, [&](int from, int to, double part) {
    return message_seconds(topology, from, to, part);
  });
}

uint64_t member_memory_bytes(const PricedModel& model, const Stage& stage,
                             const StageMember& member, const Load& load) {
  const StageWork work = work_of(model, stage);
  double bytes = static_cast<double>(work.held_bytes) * member.fraction;
  if (stage.first_layer == 0) bytes += static_cast<double>(model.embedding_bytes);
  bytes += work.kv_bytes_per_token * kv_fraction(model, member.fraction) * load.context *
           load.concurrency;
  // Activations of a chunk: the stream, and the widest intermediate (about eight times the stream's width).
  bytes += 10.0 * kPrefillChunk * model.width * sizeof(float);
  return static_cast<uint64_t>(bytes);
}

Prediction predict(const PricedModel& model, const Topology& topology,
                   const std::vector<Stage>& stages, const Load& load) {
  Prediction prediction;
  for (const Stage& stage : stages) {
    for (const StageMember& member : stage.members) {
      prediction.memory_bytes.push_back(member_memory_bytes(model, stage, member, load));
    }
  }
  const StepTimes one = step_times(model, topology, stages, load, 1, true);
  prediction.weights_s = one.weights;
  prediction.sync_s = one.syncs;
  prediction.logits_s = one.logits;
  prediction.hop_s = one.hops;
  prediction.answer_s = one.answer;
  prediction.decode_tokens_per_s = 1 / one.total();

  // Streams travel in as many batches as there are stages to fill; a batch leaves each time the slowest stage is done,
  // or each time all the batches have gone round.
  const double batches = std::min<double>(load.concurrency, static_cast<double>(stages.size()));
  const double rows = load.concurrency / batches;
  const StepTimes batch = step_times(model, topology, stages, load, rows, true);
  prediction.throughput_tokens_per_s = rows / std::max(batch.slowest(), batch.total() / batches);

  const double chunk_rows = std::min(load.prompt, kPrefillChunk);
  const double chunks = std::ceil(static_cast<double>(load.prompt) / chunk_rows);
  StepTimes chunk = step_times(model, topology, stages, load, chunk_rows, false);
  const double hidden = hidden_seconds(model, topology, stages, load, chunk_rows, chunk.weights);
  chunk.syncs -= hidden;
  chunk.stages.front() -= hidden;
  prediction.time_to_first_token_s = chunk.total() + (chunks - 1) * chunk.slowest();
  return prediction;
}

}  // namespace cohort::cluster
