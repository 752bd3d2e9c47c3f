// What the planner says of machines we do not have, beside what others published of them: Qwen3-235B-A22B in 8 bits on
// M3 Ultras, with and without RDMA over Thunderbolt 5. One figure is fitted, to one device alone; those of 2 and 4 are
// predictions.
#include <cmath>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "cluster/planner.h"

namespace cohort::cluster {
namespace {

// Qwen3-235B-A22B, config.json of its repository.
constexpr int32_t kLayers = 94, kWidth = 4096, kHeads = 64, kKvHeads = 4, kHeadSize = 128;
constexpr double kExperts = 128, kActiveExperts = 8, kExpertWidth = 1536, kVocabulary = 151'936;
constexpr double kBytesPerWeight = 8.5 / 8;  // 8 bits, and 16 each of scale and bias for 64 weights

// Apple, Mac Studio (2025), technical specifications: M3 Ultra with 80 GPU cores.
constexpr double kMemoryBytesPerS = 819e9;
constexpr uint64_t kMemoryBytes = uint64_t{512} << 30;
constexpr double kOperationsPerS = 28e12;  // 80 cores x 128 lanes x 2 x 1.4 GHz

// Tokens a second of one M3 Ultra alone, as published (EXO 1.0, measured by Jeff Geerling, December 2025). What reading the
// weights at the memory's rate leaves of that time is charged to the layers: launches, routing, attention.
constexpr double kPublishedAlone = 19.5;

// One way between two Macs over Thunderbolt 5, and the rate.
struct Cable {
  const char* name;
  double one_way_s, bytes_per_s;
};
constexpr Cable kCables[] = {
    // "300 us" without RDMA and "< 50 us" with it: Jeff Geerling, same article. 25 to 40 Gbit/s for TCP: OdinLink-Five,
    // pull request 15.
    {"TCP, 300 us", 300e-6, 4e9},
    // 3.8 GB/s: ml-explore/mlx issue 3207, JACCL between two M3 Ultras.
    {"RDMA, 50 us", 50e-6, 3.8e9},
    // "3 us": EXO's and NetworkChuck's measurement, December 2025.
    {"RDMA, 3 us", 3e-6, 3.8e9},
};

struct Published {
  int devices;
  double exo_rdma, llama_rpc_tcp;  // tokens a second, same article
};
constexpr Published kPublished[] = {{1, 19.5, 20.4}, {2, 26.2, 17.2}, {4, 31.9, 15.2}};

ModelCost qwen3_235b() {
  const double attention = kWidth * kHeadSize * (2.0 * kHeads + 2.0 * kKvHeads);
  const double router = kWidth * kExperts;
  const double expert = 3 * kWidth * kExpertWidth;
  const double active = attention + router + kActiveExperts * expert;
  const double head = kVocabulary * kWidth;
  ModelCost model{.name = "Qwen3-235B-A22B 8-bit",
                  .embedding_bytes = static_cast<uint64_t>(head * kBytesPerWeight),
                  .head_bytes = static_cast<uint64_t>(head * kBytesPerWeight),
                  .head_operations = 2 * head,
                  .width = kWidth,
                  .heads = kHeads,
                  .kv_heads = kKvHeads,
                  .max_positions = 40'960};
  const double held = attention + router + kExperts * expert;
  model.layers.assign(kLayers, {.weight_bytes = static_cast<uint64_t>(held * kBytesPerWeight),
                                .touched_bytes = static_cast<uint64_t>(active * kBytesPerWeight),
                                .operations = 2 * active,
                                .kv_bytes_per_token = 2 * kKvHeads * kHeadSize * sizeof(uint16_t),
                                .position_operations = 4.0 * kHeads * kHeadSize});
  return model;
}

double bytes_per_token(const ModelCost& model) {
  double bytes = static_cast<double>(model.head_bytes);
  for (const LayerCost& layer : model.layers) bytes += static_cast<double>(layer.touched_bytes);
  return bytes;
}

// Of a layer, beside what it reads: the fitted figure.
double layer_seconds(const ModelCost& model) {
  return (1 / kPublishedAlone - bytes_per_token(model) / kMemoryBytesPerS - kAnswerTokenS) /
         kLayers;
}

Topology machines(int count, const Cable& cable, double layer_s) {
  Topology topology;
  for (int i = 0; i < count; ++i) {
    topology.devices.push_back({.id = std::to_string(i),
                                .name = fmt::format("studio{}", i + 1),
                                .memory_available_bytes = kMemoryBytes,
                                .read_bytes_per_s = kMemoryBytesPerS,
                                .operations_per_s = kOperationsPerS,
                                .layer_s = layer_s});
  }
  topology.links.assign(
      static_cast<size_t>(count) * static_cast<size_t>(count),
      {.reachable = true, .round_trip_s = 2 * cable.one_way_s, .bytes_per_s = cable.bytes_per_s});
  return topology;
}

Load load() { return {.prompt = 512, .answer = 128, .wire_bytes = sizeof(uint16_t)}; }

std::string cell(double tokens_per_s, double published) {
  return fmt::format("{:5.1f} ({:+3.0f}%)", tokens_per_s, 100 * (tokens_per_s / published - 1));
}

void print_row(const ModelCost& model, const Published& published, const Cable& cable) {
  const Topology topology = machines(published.devices, cable, layer_seconds(model));
  const auto tensor =
      plan(model, topology,
           {.sharding = Sharding::kTensor, .devices = published.devices, .load = load()});
  const auto best = plan(model, topology, {.load = load()});
  if (!tensor || !best) return;
  const Prediction& split = tensor->front().prediction;
  const Placement& chosen = best->front();
  fmt::print("{:7}  {:12}  {:>14}  {:6.2f} ms  {:6.1f}  {:8} on {}  {:9.1f}  {:9.1f}\n",
             published.devices, cable.name, cell(split.decode_tokens_per_s, published.exo_rdma),
             1e3 * split.sync_s, chosen.prediction.decode_tokens_per_s, chosen.sharding,
             chosen.device_count(), published.exo_rdma, published.llama_rpc_tcp);
}

void print_all() {
  const ModelCost model = qwen3_235b();
  fmt::print(
      "{}: {:.1f} GB read for a token, {:.0f} us of a layer beside it (fitted to {} tok/s "
      "alone)\n\n",
      model.name, bytes_per_token(model) / 1e9, 1e6 * layer_seconds(model), kPublishedAlone);
  fmt::print(
      "                       tensor on all, tok/s    the planner's choice          published "
      "tok/s\n");
  fmt::print(
      "devices  cable         (against EXO)   syncs      tok/s                   EXO, RDMA  "
      "llama.cpp\n");
  for (const Published& published : kPublished) {
    if (published.devices == 1) continue;
    for (const Cable& cable : kCables) print_row(model, published, cable);
  }
}

}  // namespace
}  // namespace cohort::cluster

int main() { cohort::cluster::print_all(); }
