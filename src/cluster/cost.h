// What running a model on devices costs: the planner's facts, and the prices it makes of them. Pure arithmetic; all times
// in seconds, sizes in bytes, rates per second.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace cohort::cluster {

struct LayerCost {
  uint64_t weight_bytes = 0;   // held by whoever runs the layer
  uint64_t touched_bytes = 0;  // read for one token: less than held where experts are routed
  double operations = 0;       // for one token, a multiply-add is two
  uint64_t kv_bytes_per_token = 0;
  double position_operations = 0;  // of attention, for one token and each position it looks back at

  template <class Visitor>
  void fields(Visitor& visit) {
    visit("weight_bytes", weight_bytes);
    visit("touched_bytes", touched_bytes);
    visit("operations", operations);
    visit("kv_bytes_per_token", kv_bytes_per_token);
    visit("position_operations", position_operations);
  }
};

// Kinds of weights that kernels differ in, and are measured in. Others count as the nearest.
inline constexpr std::array<std::string_view, 4> kFormats = {"q4", "q8", "bf16", "mxfp4"};

// What of a model's weights is of a format.
struct FormatShare {
  std::string format;
  double bytes = 0;       // of those touched for a token; of 1
  double operations = 0;  // of 1

  template <class Visitor>
  void fields(Visitor& visit) {
    visit("format", format);
    visit("bytes", bytes);
    visit("operations", operations);
  }
};

struct ModelCost {
  std::string name;
  std::vector<FormatShare> formats;  // none: not known
  std::vector<LayerCost> layers;
  uint64_t embedding_bytes = 0;  // held by the first stage
  uint64_t head_bytes = 0;       // held and read by the last stage
  double head_operations = 0;
  int32_t width = 0;  // of the residual stream
  int32_t heads = 0;
  int32_t kv_heads = 0;
  int32_t max_positions = 0;

  template <class Visitor>
  void fields(Visitor& visit) {
    visit("name", name);
    visit("formats", formats);
    visit("layers", layers);
    visit("embedding_bytes", embedding_bytes);
    visit("head_bytes", head_bytes);
    visit("head_operations", head_operations);
    visit("width", width);
    visit("heads", heads);
    visit("kv_heads", kv_heads);
    visit("max_positions", max_positions);
  }
};

// A model with its layers summed up once, so that any range of them is priced in constant time.
struct PricedModel : ModelCost {
  explicit PricedModel(ModelCost model);

  std::vector<LayerCost> before;  // before[i] = sum of layers 0..i-1
  LayerCost largest;              // the largest of each figure over all layers
};

struct DeviceFacts {
  std::string id;
  std::string name;
  uint64_t memory_available_bytes = 0;
  double read_bytes_per_s = 0;  // weights, one token at a time, all cores the runner will use
  double own_byte_s = 0;        // of a byte's time then, what memory has no part in
  double kv_bytes_per_s = 0;    // by attention; 0: as weights
  double operations_per_s = 0;  // matmul of the model's format
  double attention_operations_per_s = 0;  // of many rows to what stands before them; 0: as matmul
  double layer_s = 0;                     // of a layer and of a step, beside what they read
  double step_s = 0;
  int32_t machine = -1;            // the same: they share a memory; -1: with nobody
  double machine_bytes_per_s = 0;  // what memory gives all of a machine; 0: no limit is known
  double message_s = 0;  // of a message over TCP and each of its bytes, beside the link's time
  double message_byte_s = 0;
  bool hides_sums = false;  // computes half of a prompt's rows while the other half's sums travel
};

// What a byte takes beside memory's time, in seconds: a kernel read so fast when memory gave so much.
double own_byte_seconds(double bytes_per_s, double memory_bytes_per_s);

// What pairs of ranks may be linked by: TCP, which always goes, and what is better where it goes.
inline constexpr std::array<std::string_view, 4> kTransports = {"tcp", "shm", "verbs", "ucx"};
inline constexpr uint8_t kTcp = 0, kShm = 1;
inline bool is_rdma(std::string_view transport) {
  return transport == "verbs" || transport == "ucx";
}

inline constexpr double kMessageBytes = 8192;  // what a token's sum has in most models

struct LinkFacts {
  bool reachable = false;
  uint8_t transport = kTcp;  // of kTransports
  bool decided = false;      // it was the fastest of several
  double round_trip_s = 0;   // p50
  double bytes_per_s = 0;
  double message_s = 0;  // one way, of kMessageBytes after a pause, where it was measured; else 0

  // Of a message on its way: half a round trip and the bytes at the link's rate, unless messages were measured, which on
  // a switch take longer and with a rate saved up shorter. Infinite when there is no way.
  double path_seconds(double bytes) const;
};

// Devices by index; links[i * devices.size() + j] is i -> j.
struct Topology {
  std::vector<DeviceFacts> devices;
  std::vector<LinkFacts> links;
  // Of pairs that the wished transport does not link, where it is known: by indices, the smaller one first.
  std::map<std::pair<int, int>, std::string> why_unlinked;

  const LinkFacts& link(int from, int to) const {
    return links[static_cast<size_t>(from) * devices.size() + static_cast<size_t>(to)];
  }
};

// A rank of a tensor group: which device, and its share of every matrix.
struct StageMember {
  int device = 0;
  double fraction = 1;
};

// Contiguous layers on a tensor group (of one: plain).
struct Stage {
  int32_t first_layer = 0;
  int32_t last_layer = 0;  // exclusive
  std::vector<StageMember> members;
};

struct Load {              // what is asked of the placement
  int32_t context = 4096;  // positions a sequence may take; memory is set aside for all
  int32_t concurrency = 1;
  int32_t prompt = 512;     // tokens, for the time to the first one
  int32_t answer = 128;     // tokens; decoding is priced in their middle
  uint32_t wire_bytes = 4;  // of one value between devices: f32 4, bf16 2, q8 1
};

struct Prediction {
  double time_to_first_token_s = 0;
  double decode_tokens_per_s = 0;      // one stream alone
  double throughput_tokens_per_s = 0;  // all streams of Load::concurrency together
  std::vector<uint64_t> memory_bytes;  // by stage, then member
  // Where a decoded token's time goes.
  double weights_s = 0, sync_s = 0, logits_s = 0, hop_s = 0, answer_s = 0;
};

inline constexpr uint64_t kReserveBytes =
    256ull << 20;                              // kept free on each device beside what a shard needs
inline constexpr int32_t kPrefillChunk = 256;  // rows of a pipelined prefill chunk
inline constexpr int32_t kLeastHalvedRows = 128;  // as models/halves.h

// A token's way from logits to the client (sampling, frames, the daemon, HTTP) while the device's only core does nothing
// else: 0.25 to 0.45 ms measured on a 5th generation EPYC.
inline constexpr double kAnswerTokenS = 0.3e-3;
// A rank that waits for another's stage sleeps, since that takes longer than it spins: until it runs again.
inline constexpr double kWakeUpS = 40e-6;
// Of a link: as the group's own rule for how to sum (transport/group.h).
inline constexpr double kBytesPerLatency = 32 * 1024;

// Time of an all-reduce of `bytes` between the members, as transport/group.cc does it: few or small, each sends all to
// every other at once; else each sums a share and sends it round. Infinite when a pair cannot reach each other.
double all_reduce_seconds(const Topology& topology, const std::vector<StageMember>& members,
                          double bytes);

// Bytes a member of a stage holds: weights, KV at the load's context and concurrency, activations.
uint64_t member_memory_bytes(const PricedModel& model, const Stage& stage,
                             const StageMember& member, const Load& load);

Prediction predict(const PricedModel& model, const Topology& topology,
                   const std::vector<Stage>& stages, const Load& load);

}  // namespace cohort::cluster
