// The loops of transport/wire.cc over the 2,048 values that a sum of a 1B model has, by instruction set, beside what
// moving the same floats takes. One argument: which of available_codecs().
#include <benchmark/benchmark.h>

#include <cstring>
#include <vector>

#include "transport/codec/codec.h"

namespace cohort::transport {
namespace {

constexpr size_t kValues = 2048;

std::vector<float> some_values() {
  std::vector<float> values(kValues);
  for (size_t i = 0; i < kValues; ++i) values[i] = static_cast<float>(i * 37 % 1001) * 0.01f - 5.0f;
  return values;
}

const Codec* codec_of(benchmark::State& state) {
  const auto codecs = available_codecs();
  const auto index = static_cast<size_t>(state.range(0));
  if (index >= codecs.size()) {
    state.SkipWithError("no such instruction set here");
    return nullptr;
  }
  state.SetLabel(codecs[index]->name);
  return codecs[index];
}

void encode(benchmark::State& state, Wire wire) {
  const Codec* codec = codec_of(state);
  if (codec == nullptr) return;
  const std::vector<float> values = some_values();
  std::vector<std::byte> out(wire_bytes(wire, kValues));
  for (auto _ : state) {
    codec->encode[static_cast<size_t>(wire)](values.data(), kValues / kWireGroup, out.data());
    benchmark::ClobberMemory();
  }
}

void add_two(benchmark::State& state, Wire wire) {
  const Codec* codec = codec_of(state);
  if (codec == nullptr) return;
  std::vector<float> sums(kValues);
  const std::vector<float> values = some_values();
  std::vector<std::byte> a(wire_bytes(wire, kValues)), b(a.size());
  for (auto* part : {&a, &b}) {
    codec->encode[static_cast<size_t>(wire)](values.data(), kValues / kWireGroup, part->data());
  }
  const std::byte* parts[] = {a.data(), b.data()};
  for (auto _ : state) {
    codec->add[static_cast<size_t>(wire)](parts, 2, kValues / kWireGroup, sums.data());
    benchmark::ClobberMemory();
  }
}

void copy_floats(benchmark::State& state) {
  const std::vector<float> values = some_values();
  std::vector<float> out(kValues);
  for (auto _ : state) {
    std::memcpy(out.data(), values.data(), kValues * sizeof(float));
    benchmark::ClobberMemory();
  }
}

void encode_bf16(benchmark::State& state) { encode(state, Wire::kBF16); }
void encode_q8(benchmark::State& state) { encode(state, Wire::kQ8); }
void add_two_f32(benchmark::State& state) { add_two(state, Wire::kF32); }
void add_two_bf16(benchmark::State& state) { add_two(state, Wire::kBF16); }
void add_two_q8(benchmark::State& state) { add_two(state, Wire::kQ8); }

#define COHORT_CODECS ->DenseRange(0, 2)->MinTime(0.2)
BENCHMARK(copy_floats)->MinTime(0.2);
BENCHMARK(encode_bf16) COHORT_CODECS;
BENCHMARK(encode_q8) COHORT_CODECS;
BENCHMARK(add_two_f32) COHORT_CODECS;
BENCHMARK(add_two_bf16) COHORT_CODECS;
BENCHMARK(add_two_q8) COHORT_CODECS;

}  // namespace
}  // namespace cohort::transport
