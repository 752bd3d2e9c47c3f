// Products on one core, each beside its limit measured in the same moments: every iteration times the limit, then the
// kernel, so that a change of the machine's mood hits both.
//
//   decode          GB/s of packed weights, of those the machine reads (weights larger than the caches)
//   decode_cached   GFLOP/s from the second-level cache, of those of the same multiply-add instruction from registers:
//                   what decode could do if memory were no limit
//   prefill         GFLOP/s, likewise; weights from the last-level cache
//   prefill_far     with weights from memory, as a model's are
#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "kernels/kernels.h"
#include "kernels/test_matrix.h"
#include "rates.h"

namespace cohort::kernels {
namespace {

constexpr size_t kNearBytes = size_t{256} << 10;

// A few panels of random values, repeated until they are `size_bytes` large or `rows` many.
struct Weights {
  HugeBytes bytes;
  PackedMatrix matrix;

  size_t size_bytes() const {
    return packed_size_bytes(matrix.format, matrix.rows, matrix.columns);
  }
};

Weights make_weights(const TestFormat& format, int64_t rows, int64_t columns) {
  constexpr int64_t kRandomRows = 64;
  const TestMatrix source(format, kRandomRows, columns, 1);
  const OwnedPacked packed = pack_all(source.view());
  const size_t unit = packed_size_bytes(packed.matrix.format, kRandomRows, columns);
  const int64_t copies = std::max<int64_t>(rows / kRandomRows, 1);
  HugeBytes bytes(unit * static_cast<size_t>(copies));
  for (int64_t i = 0; i < copies; ++i) {
    std::memcpy(bytes.data() + static_cast<size_t>(i) * unit, packed.bytes.data(), unit);
  }
  const PackedMatrix matrix = {packed.matrix.format, copies * kRandomRows, columns, bytes.data()};
  return {std::move(bytes), matrix};
}

Weights make_sized_weights(const TestFormat& format, int64_t columns, size_t size_bytes) {
  const TestMatrix probe(format, 16, columns, 1);
  const size_t panel = packed_size_bytes(packed_format(probe.view()), 16, columns);
  return make_weights(format, static_cast<int64_t>(size_bytes / panel) * 16, columns);
}

std::vector<float> random_activations(int64_t count) {
  std::mt19937 rng(2);
  std::normal_distribution<float> values;
  std::vector<float> x(static_cast<size_t>(count));
  for (float& v : x) v = values(rng);
  return x;
}

enum class Where { kFar, kNear };

constexpr int64_t kDecodeColumns = 2048;

Weights make_decode_weights(const TestFormat& format, Where where) {
  return make_sized_weights(format, kDecodeColumns, where == Where::kFar ? kFarBytes : kNearBytes);
}

template <class Run>
void measure_far(benchmark::State& state, const Kernels& kernels, const Weights& weights,
                 const Run& run) {
  const size_t size = weights.size_bytes() / 256 * 256;
  Rates rates;
  for (auto _ : state) {
    const double limit = seconds_of(
        [&] { benchmark::DoNotOptimize(kernels.probe.read(weights.matrix.panels, size)); });
    const double time = seconds_of(run);
    state.SetIterationTime(time);
    rates.add(static_cast<double>(weights.size_bytes()), time, static_cast<double>(size), limit);
  }
  rates.report(state, "GB/s");
}

template <class Run>
void measure_near(benchmark::State& state, double (*peak)(int64_t), double operations,
                  const Run& run) {
  constexpr int kTimes = 20;
  Rates rates;
  for (auto _ : state) {
    double limit_operations = 0;
    const double limit = seconds_of([&] { limit_operations = peak(kProbeRounds); });
    const double time = seconds_of([&] {
      for (int i = 0; i < kTimes; ++i) run();
    });
    state.SetIterationTime(time);
    rates.add(kTimes * operations, time, limit_operations, limit);
  }
  rates.report(state, "GFLOP/s");
}

template <class Run>
void measure_decode(benchmark::State& state, const Kernels& kernels, const Weights& weights,
                    Where where, int64_t x_rows, double (*peak)(int64_t), const Run& run) {
  const double operations =
      2.0 * static_cast<double>(x_rows * weights.matrix.rows * weights.matrix.columns);
  where == Where::kFar ? measure_far(state, kernels, weights, run)
                       : measure_near(state, peak, operations, run);
}

// Kernels that want a step's activations as groups, prepared once.
template <class Group>
void decode_groups(benchmark::State& state, const Kernels& kernels, const TestFormat& format,
                   Where where, int64_t x_rows, double (*peak)(int64_t), const auto& prepare,
                   const auto& decode) {
  constexpr int64_t columns = kDecodeColumns;
  const Weights weights = make_decode_weights(format, where);
  const std::vector<float> x = random_activations(x_rows * columns);
  std::vector<Group> groups(static_cast<size_t>(quantized_groups(x_rows, columns)));
  std::vector<float> y(static_cast<size_t>(x_rows * weights.matrix.rows));
  for (int64_t m = 0; m < x_rows; ++m)
    prepare(x.data() + m * columns, columns, quantized_stride(x_rows), groups.data() + m);
  measure_decode(state, kernels, weights, where, x_rows, peak, [&] {
    decode(weights.matrix, {0, panel_count(weights.matrix.rows)}, {groups.data(), x_rows},
           {y.data(), weights.matrix.rows});
  });
}

void decode_i8(benchmark::State& state, const Kernels& kernels, const TestFormat& format,
               Where where, int64_t x_rows) {
  decode_groups<QuantizedGroup>(state, kernels, format, where, x_rows, kernels.probe.dot_i8,
                                kernels.matmul.quantize_activation, kernels.matmul.decode_i8);
}

void decode_bf16(benchmark::State& state, const Kernels& kernels, const TestFormat& format,
                 Where where, int64_t x_rows) {
  decode_groups<Bf16Group>(state, kernels, format, where, x_rows, kernels.probe.multiply_fast,
                           kernels.matmul.round_activation, kernels.matmul.decode_bf16);
}

void decode_f32(benchmark::State& state, const Kernels& kernels, const TestFormat& format,
                Where where, int64_t x_rows) {
  constexpr int64_t columns = kDecodeColumns;
  const Weights weights = make_decode_weights(format, where);
  const std::vector<float> x = random_activations(x_rows * columns);
  std::vector<float> y(static_cast<size_t>(x_rows * weights.matrix.rows));
  measure_decode(state, kernels, weights, where, x_rows, kernels.probe.multiply_f32, [&] {
    kernels.matmul.decode_f32(weights.matrix, {0, panel_count(weights.matrix.rows)},
                              {x.data(), columns, x_rows, columns},
                              {y.data(), weights.matrix.rows});
  });
}

void prefill(benchmark::State& state, const GemmKernels& gemm, double (*peak)(int64_t),
             const TestFormat& format, Where where, int64_t x_rows) {
  constexpr int64_t kNearRows = 2048, columns = 2048;
  const Weights weights = where == Where::kNear ? make_weights(format, kNearRows, columns)
                                                : make_sized_weights(format, columns, kFarBytes);
  const int64_t rows = weights.matrix.rows;
  const std::vector<float> x = random_activations(x_rows * columns);
  AlignedBytes packed(gemm.packed_bytes(x_rows, columns));
  const int64_t stride = rows + 16;  // as a backend's: not a multiple of a page
  std::vector<float> y(static_cast<size_t>(x_rows * stride));
  const double operations = 2.0 * static_cast<double>(x_rows * rows * columns);
  Rates rates;
  for (auto _ : state) {
    double limit_operations = 0;
    const double limit = seconds_of([&] { limit_operations = peak(kProbeRounds); });
    const double time = seconds_of([&] {
      gemm.pack({x.data(), columns, x_rows, columns}, {0, gemm.tile_count(x_rows)}, packed.data());
      gemm.multiply(weights.matrix, {0, panel_count(rows)}, packed.data(), x_rows,
                    {y.data(), stride});
    });
    state.SetIterationTime(time);
    rates.add(operations, time, limit_operations, limit);
  }
  rates.report(state, "GFLOP/s");
}

void pack(benchmark::State& state, const Kernels& kernels, const TestFormat& format) {
  const int64_t rows = 2048, columns = 8192;
  const TestMatrix source(format, rows, columns, 1);
  AlignedBytes out(packed_size_bytes(packed_format(source.view()), rows, columns));
  const size_t size = packed_size_bytes(packed_format(source.view()), rows, columns);
  Rates rates;
  for (auto _ : state) {
    const double limit =
        seconds_of([&] { benchmark::DoNotOptimize(kernels.probe.read(out.data(), size)); });
    const double time = seconds_of([&] {
      pack_rows(source.view(), 0, {0, rows}, {0, columns}, out.data());
    });
    state.SetIterationTime(time);
    rates.add(static_cast<double>(size), time, static_cast<double>(size), limit);
  }
  rates.report(state, "GB/s");
}

std::vector<TestFormat> bench_formats() {
  std::vector<TestFormat> formats;
  for (const int bits : {2, 3, 4, 5, 6, 8})
    formats.push_back({{QuantMode::kAffine, bits, 64}, DType::kBF16});
  formats.push_back({{QuantMode::kMxfp4, 4, 32}, DType::kU8});
  formats.push_back({{QuantMode::kNvfp4, 4, 16}, DType::kU8});
  formats.push_back({{QuantMode::kMxfp8, 8, 32}, DType::kU8});
  formats.push_back({{QuantMode::kNone, 0, 0}, DType::kBF16});
  formats.push_back({{QuantMode::kNone, 0, 0}, DType::kF16});
  return formats;
}

void add_decodes(const Kernels& kernels, const TestFormat& format) {
  const std::string tail = std::string("/") + kernels.name + "/" + format.name() + "/rows:";
  const OwnedPacked small = pack_all(TestMatrix(format, 16, 128, 1).view());
  const bool has_i8 = kernels.matmul.has_decode_i8(small.matrix.format);
  const bool has_bf16 = kernels.matmul.has_decode_bf16(small.matrix.format);
  for (const Where where : {Where::kFar, Where::kNear}) {
    for (const int64_t x_rows : {1, 2, 4, 8}) {
      const auto name = [&](const char* kernel) {
        return kernel + std::string(where == Where::kNear ? "_cached" : "") + tail +
               std::to_string(x_rows);
      };
      const auto register_one = [&](const char* kernel, auto run) {
        add_benchmark(name(kernel),
                      [&kernels, format, where, x_rows, run](benchmark::State& state) {
                        run(state, kernels, format, where, x_rows);
                      });
      };
      if (has_i8) register_one("decode_i8", decode_i8);
      if (has_bf16) register_one("decode_bf16", decode_bf16);
      register_one("decode_f32", decode_f32);
    }
  }
}

void add_prefills(const Kernels& kernels, const TestFormat& format) {
  const std::string tail = std::string("/") + kernels.name + "/" + format.name() + "/rows:";
  const OwnedPacked small = pack_all(TestMatrix(format, 16, 128, 1).view());
  const MatmulKernels& matmul = kernels.matmul;
  const auto register_one = [&](const std::string& name, const GemmKernels& gemm,
                                double (*peak)(int64_t), Where where, int64_t x_rows) {
    add_benchmark(name + (where == Where::kFar ? "_far" : "") + tail + std::to_string(x_rows),
                  [&gemm, peak, format, where, x_rows](benchmark::State& state) {
                    prefill(state, gemm, peak, format, where, x_rows);
                  });
  };
  const auto register_all = [&](Where where, int64_t x_rows) {
    const ProbeKernels& probe = kernels.probe;
    register_one("prefill_fast", matmul.prefill_fast, probe.multiply_fast, where, x_rows);
    if (matmul.has_prefill_i8(small.matrix.format))
      register_one("prefill_i8", matmul.prefill_i8, probe.dot_i8, where, x_rows);
    register_one("prefill_f32", matmul.prefill_f32, probe.multiply_f32, where, x_rows);
  };
  for (const int64_t x_rows : {16, 32, 128, 512}) register_all(Where::kNear, x_rows);
  for (const int64_t x_rows : {16, 32}) register_all(Where::kFar, x_rows);
}

}  // namespace

void add_products() {
  for (const TestFormat& format : bench_formats()) {
    add_benchmark("pack/" + format.name(),
                  [format](benchmark::State& state) { pack(state, best_kernels(), format); });
  }
  for (const Kernels* kernels : available_kernels()) {
    if (kernels->isa == Isa::kScalar) continue;
    for (const TestFormat& format : bench_formats()) {
      add_decodes(*kernels, format);
      add_prefills(*kernels, format);
    }
  }
}

}  // namespace cohort::kernels
