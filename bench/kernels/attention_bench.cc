// Attention on one core, 64 dims, each beside its limit measured in the same moments.
//
//   attend_decode   a token's 4 rows of each of 8 KV heads, whose blocks lie side by side as in a page, over a cache larger
//                   than those of the CPU: GB/s of keys and values, of those the machine reads; _dots are integer products
//   attend_prompt   one head, as many rows as a tile takes over 8,192 positions: GFLOP/s, of those of the multiply-add
//                   instruction from registers; _bf16 are products of bf16
#include <cstring>
#include <limits>
#include <random>

#include "kernels/kernels.h"
#include "rates.h"

namespace cohort::kernels {
namespace {

constexpr int kDim = 64;
constexpr int32_t kPromptPositions = 8192;

enum class Way { kFloats, kDots, kBf16 };

const char* name_of(KvFormat format) {
  switch (format) {
    case KvFormat::kF32: return "f32";
    case KvFormat::kF16: return "f16";
    case KvFormat::kBF16: return "bf16";
    case KvFormat::kQ8: return "q8";
  }
  return "";
}

size_t block_bytes(KvFormat format) {
  return kv_key_bytes(format, kDim) + kv_value_bytes(format, kDim);
}

// A few blocks of random keys and values, repeated.
class Cache {
 public:
  Cache(const AttentionKernels& kernels, KvFormat format, int32_t blocks)
      : block_(block_bytes(format)), blocks_(blocks), bytes_(block_ * static_cast<size_t>(blocks)) {
    constexpr int32_t kRandomBlocks = 64;
    std::mt19937 engine(1);
    std::normal_distribution<float> normal;
    float x[kDim];
    for (int32_t b = 0; b < blocks; ++b) {
      if (b >= kRandomBlocks) {
        std::memcpy(at(b), at(b % kRandomBlocks), block_);
        continue;
      }
      for (int slot = 0; slot < kKvBlockTokens; ++slot) {
        for (float& v : x) v = normal(engine);
        kernels.store_key(format, at(b), slot, x, kDim);
        for (float& v : x) v = normal(engine);
        kernels.store_value(format, at(b) + kv_key_bytes(format, kDim), slot, x, kDim);
      }
    }
  }

  std::byte* at(int32_t block) const { return bytes_.data() + static_cast<size_t>(block) * block_; }
  int32_t blocks() const { return blocks_; }
  size_t size_bytes() const { return block_ * static_cast<size_t>(blocks_); }

 private:
  size_t block_;
  int32_t blocks_;
  HugeBytes bytes_;
};

// Rows of one head that see the whole cache.
class Rows {
 public:
  Rows(const Kernels& kernels, KvFormat format, Way way, int rows)
      : kernels_(kernels.vector.attention),
        queries_(static_cast<size_t>(rows) * kDim),
        quantized_(static_cast<size_t>(rows * kv_quant_groups(kDim))),
        bf16_(bf16_query_bytes(rows, kDim)),
        first_(static_cast<size_t>(rows), 0),
        last_(static_cast<size_t>(rows), std::numeric_limits<int32_t>::max() / 2),
        max_(static_cast<size_t>(rows)),
        sum_(static_cast<size_t>(rows)),
        out_(static_cast<size_t>(rows) * kDim),
        scratch_(attention_scratch_floats(kDim, kDim)) {
    std::mt19937 engine(2);
    std::normal_distribution<float> normal;
    for (float& v : queries_) v = normal(engine) / 8;
    tile_ = {.format = format, .rows = rows, .key_dim = kDim, .value_dim = kDim};
    tile_.queries = queries_.data();
    if (way == Way::kDots) {
      for (int r = 0; r < rows; ++r) {
        kernels.matmul.quantize_activation(queries_.data() + r * kDim, kDim, 1,
                                           quantized_.data() + r * kv_quant_groups(kDim));
      }
      tile_.quantized_queries = quantized_.data();
    }
    if (way == Way::kBf16) {
      kernels_.pack_bf16(queries_.data(), rows, kDim, bf16_.data());
      tile_.bf16_queries = bf16_.data();
    }
    tile_.first = first_.data();
    tile_.last = last_.data();
    tile_.max = max_.data();
    tile_.sum = sum_.data();
    tile_.out = out_.data();
    tile_.scratch = scratch_.data();
  }

  void clear() {
    std::fill(max_.begin(), max_.end(), -std::numeric_limits<float>::infinity());
    std::fill(sum_.begin(), sum_.end(), 0.0f);
    std::fill(out_.begin(), out_.end(), 0.0f);
  }
  void attend(const std::byte* const* blocks, int following, int32_t first_block) {
    kernels_.attend(tile_, blocks, kAttentionBlocks, following, first_block * kKvBlockTokens);
    benchmark::DoNotOptimize(out_.data());
  }

 private:
  const AttentionKernels& kernels_;
  std::vector<float> queries_;
  std::vector<QuantizedGroup> quantized_;
  std::vector<std::byte> bf16_;
  std::vector<int32_t> first_, last_;
  std::vector<float> max_, sum_, out_, scratch_;
  AttentionTile tile_;
};

// Blocks of the pages from `page` on, of one of `heads` heads.
void find_blocks(const Cache& cache, int32_t page, int heads, int head, const std::byte** blocks) {
  for (int i = 0; i < kAttentionBlocks; ++i) blocks[i] = cache.at((page + i) * heads + head);
}

// All heads take some pages before the next ones, as in backend/cpu.
void attend_all(const Cache& cache, std::vector<Rows>& heads) {
  const auto count = static_cast<int>(heads.size());
  const int32_t pages = cache.blocks() / count / kAttentionBlocks * kAttentionBlocks;
  for (Rows& head : heads) head.clear();
  for (int32_t page = 0; page < pages; page += kAttentionBlocks) {
    for (int h = 0; h < count; ++h) {
      const std::byte* blocks[2 * kAttentionBlocks];
      const int32_t next_page = h + 1 < count ? page : page + kAttentionBlocks;
      const int following = next_page < pages ? kAttentionBlocks : 0;
      find_blocks(cache, page, count, h, blocks);
      if (following > 0)
        find_blocks(cache, next_page, count, (h + 1) % count, blocks + kAttentionBlocks);
      heads[static_cast<size_t>(h)].attend(blocks, following, page);
    }
  }
}

void decode(benchmark::State& state, const Kernels& kernels, KvFormat format, Way way) {
  constexpr int kHeads = 8, kRows = 4;
  const Cache cache(kernels.vector.attention, format,
                    static_cast<int32_t>(kFarBytes / block_bytes(format)));
  std::vector<Rows> heads;
  for (int h = 0; h < kHeads; ++h) heads.emplace_back(kernels, format, way, kRows);
  const size_t size = cache.size_bytes() / 256 * 256;
  Rates rates;
  for (auto _ : state) {
    const double limit =
        seconds_of([&] { benchmark::DoNotOptimize(kernels.probe.read(cache.at(0), size)); });
    const double time = seconds_of([&] { attend_all(cache, heads); });
    state.SetIterationTime(time);
    rates.add(static_cast<double>(cache.size_bytes()), time, static_cast<double>(size), limit);
  }
  rates.report(state, "GB/s");
}

void prompt(benchmark::State& state, const Kernels& kernels, KvFormat format, Way way) {
  const Cache cache(kernels.vector.attention, format, kPromptPositions / kKvBlockTokens);
  const int count = way == Way::kBf16 ? kMaxAttentionRowsBf16 : kMaxAttentionRows;
  std::vector<Rows> rows;
  rows.emplace_back(kernels, format, way, count);
  const auto peak = way == Way::kBf16 ? kernels.probe.multiply_fast : kernels.probe.multiply_f32;
  const double operations = 4.0 * count * kPromptPositions * kDim;
  Rates rates;
  for (auto _ : state) {
    double limit_operations = 0;
    const double limit = seconds_of([&] { limit_operations = peak(kProbeRounds); });
    const double time = seconds_of([&] { attend_all(cache, rows); });
    state.SetIterationTime(time);
    rates.add(operations, time, limit_operations, limit);
  }
  rates.report(state, "GFLOP/s");
}

}  // namespace

void add_attention() {
  for (const Kernels* kernels : available_kernels()) {
    if (kernels->isa == Isa::kScalar) continue;
    for (const KvFormat format : {KvFormat::kF32, KvFormat::kF16, KvFormat::kBF16, KvFormat::kQ8}) {
      const std::string tail = std::string("/") + kernels->name + "/" + name_of(format);
      const auto add = [&](const char* name, auto run, Way way) {
        add_benchmark(name + tail,
                      [=](benchmark::State& state) { run(state, *kernels, format, way); });
      };
      add("attend_decode", decode, Way::kFloats);
      if (format == KvFormat::kQ8) add("attend_decode_dots", decode, Way::kDots);
      add("attend_prompt", prompt, Way::kFloats);
      if (kernels->vector.attention.pack_bf16 != nullptr)
        add("attend_prompt_bf16", prompt, Way::kBf16);
    }
  }
}

}  // namespace cohort::kernels
