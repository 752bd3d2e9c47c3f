// Included by vector-inl.h.

inline constexpr int kBlockVectors = kKvBlockTokens / kLanes;
inline constexpr int kScoreStride = kKvBlockTokens * kAttentionBlocks;  // scores of a row
inline constexpr float kMinusInfinity = -__builtin_inff();

#include "kernels/kv_block-inl.h"

// ---- scores ----

// A block that will be read soon, fetched a little in each step of a loop over what is read now.
struct Ahead {
  const std::byte* at = nullptr;
  const std::byte* end = nullptr;
  int lines_a_step = 0;

  void fetch() {
    for (int i = 0; i < lines_a_step && at < end; ++i, at += 64) __builtin_prefetch(at);
  }
};

inline Ahead make_ahead(const std::byte* at, size_t bytes, int steps) {
  if (at == nullptr) return {};
  const auto lines = static_cast<int>(bytes / 64);
  return {at, at + bytes, (lines + steps - 1) / steps};
}

// Rows a register tile holds: rows * kBlockVectors accumulators, and some registers left for keys and queries.
inline constexpr int kScoreRows = kLanes == 16 ? 8 : kLanes == 1 ? 1 : 2;

template <int kRows, class Block>
inline void score_rows(const float* queries, int dim, const Block& keys, float* scores,
                       Ahead ahead) {
  F32 sums[kRows][kBlockVectors];
  COHORT_UNROLL for (int r = 0; r < kRows; ++r) {
    COHORT_UNROLL for (int v = 0; v < kBlockVectors; ++v) sums[r][v] = zero();
  }
  for (int d = 0; d < dim; ++d) {
    ahead.fetch();
    F32 key[kBlockVectors];
    COHORT_UNROLL for (int v = 0; v < kBlockVectors; ++v) {
      key[v] = keys.at(int64_t{d} * kKvBlockTokens + v * kLanes);
    }
    COHORT_UNROLL for (int r = 0; r < kRows; ++r) {
      const F32 query = broadcast(queries[r * dim + d]);
      COHORT_UNROLL for (int v = 0; v < kBlockVectors; ++v) sums[r][v] =
          fma(query, key[v], sums[r][v]);
    }
  }
  COHORT_UNROLL for (int r = 0; r < kRows; ++r) {
    COHORT_UNROLL for (int v = 0; v < kBlockVectors; ++v) {
      store(scores + r * kScoreStride + v * kLanes, sums[r][v]);
    }
  }
}

// Calls body.template operator()<rows>(first) for tiles of rows that cover all of them, the largest first.
template <int kRows, class Body>
inline void for_row_tiles(int rows, Body body, int first = 0) {
  for (; first + kRows <= rows; first += kRows) body.template operator()<kRows>(first);
  if constexpr (kRows > 1) for_row_tiles<kRows / 2>(rows, body, first);
}

template <class Block>
inline void score_all(const AttentionTile& tile, const Block& keys, float* scores, Ahead ahead) {
  for_row_tiles<kScoreRows>(tile.rows, [&]<int kRows>(int r) {
    score_rows<kRows>(tile.queries + int64_t{r} * tile.key_dim, tile.key_dim, keys,
                      scores + r * kScoreStride, r == 0 ? ahead : Ahead{});
  });
}

// ---- softmax ----

// Slots that a row sees.
struct SlotRange {
  int begin, end;
  bool is_empty() const { return begin >= end; }
};

inline SlotRange seen_slots(const AttentionTile& tile, int row, int32_t position, int slots) {
  const int begin = tile.first[row] > position ? tile.first[row] - position : 0;
  const int end = tile.last[row] - position + 1;
  return {begin, end < slots ? end : slots};
}

// The end of the slots that any row sees.
inline int end_of_slots(const AttentionTile& tile, int32_t position, int slots) {
  int end = 0;
  for (int r = 0; r < tile.rows; ++r) {
    const SlotRange seen = seen_slots(tile, r, position, slots);
    if (!seen.is_empty() && seen.end > end) end = seen.end;
  }
  return end;
}

inline void hide_unseen(float* scores, const SlotRange& seen, int slots) {
  for (int t = 0; t < seen.begin && t < slots; ++t) scores[t] = kMinusInfinity;
  for (int t = seen.end < 0 ? 0 : seen.end; t < slots; ++t) scores[t] = kMinusInfinity;
}

// Turns a row's scores of the slots it sees into exp(score - max) and the others of [0, slots) into 0. Returns what
// the row's earlier sums have to be multiplied with. Weights that will be rounded to 8 bits may be rough.
template <bool kRough>
inline float soften_row(float* scores, const SlotRange& seen, int slots, float& max_so_far,
                        float& sum_so_far) {
  hide_unseen(scores, seen, slots);
  F32 greatest = load(scores);
  for (int t = kLanes; t < slots; t += kLanes) greatest = max(greatest, load(scores + t));
  const float before = max_so_far, here = maximum(greatest);
  const float now = here > before ? here : before;
  const F32 shift = broadcast(kRough ? -now * kLog2e : -now), log2e = broadcast(kLog2e);
  F32 sums = zero();
  for (int t = 0; t < slots; t += kLanes) {
    const F32 score = load(scores + t);
    const F32 weight = kRough ? rough_exp2(fma(score, log2e, shift)) : exp(score + shift);
    store(scores + t, weight);
    sums = sums + weight;
  }
  max_so_far = now;
  if (now == before) {
    sum_so_far += sum(sums);
    return 1.0f;
  }
  float factor[kLanes];
  store(factor, exp(broadcast(before - now)));
  sum_so_far = sum_so_far * factor[0] + sum(sums);
  return factor[0];
}

template <bool kRough>
inline void soften_all(const AttentionTile& tile, int32_t position, int slots, float* scores,
                       float* factors) {
  for (int r = 0; r < tile.rows; ++r) {
    const SlotRange seen = seen_slots(tile, r, position, slots);
    float* row = scores + r * kScoreStride;
    if (seen.is_empty()) {
      for (int t = 0; t < slots; ++t) row[t] = 0.0f;
      factors[r] = 1.0f;
      continue;
    }
    factors[r] = soften_row<kRough>(row, seen, slots, tile.max[r], tile.sum[r]);
  }
}

// ---- sums of values ----

struct SumOperands {
  const float* weights;  // [rows][kScoreStride]
  const float* factors;  // [rows]
  float* out;            // [rows][dim]
  int dim;
  int end;  // of the slots to add up
};

// out[r] = out[r] * factors[r] + sum of weights[r][t] * values[t], for kVectors vectors of columns from `column` on.
template <int kRows, int kVectors, class Block>
inline void sum_tile(const SumOperands& s, const Block& values, int column, Ahead ahead) {
  float* out = s.out + column;
  F32 sums[kRows][kVectors];
  COHORT_UNROLL for (int r = 0; r < kRows; ++r) {
    const F32 factor = broadcast(s.factors[r]);
    COHORT_UNROLL for (int v = 0; v < kVectors; ++v) sums[r][v] =
        load(out + r * s.dim + v * kLanes) * factor;
  }
  for (int t = 0; t < s.end; ++t) {
    ahead.fetch();
    const int64_t at = int64_t{t} * s.dim + column;
    F32 value[kVectors];
    COHORT_UNROLL for (int v = 0; v < kVectors; ++v) { value[v] = values.at(at + v * kLanes); }
    COHORT_UNROLL for (int r = 0; r < kRows; ++r) {
      const F32 weight = broadcast(s.weights[r * kScoreStride + t]);
      COHORT_UNROLL for (int v = 0; v < kVectors; ++v) sums[r][v] =
          fma(weight, value[v], sums[r][v]);
    }
  }
  COHORT_UNROLL for (int r = 0; r < kRows; ++r) {
    COHORT_UNROLL for (int v = 0; v < kVectors; ++v)
        store(out + r * s.dim + v * kLanes, sums[r][v]);
  }
}

// The last `n` columns, fewer than a vector.
template <int kRows, class Block>
inline void sum_tail(const SumOperands& s, const Block& values, int column, int n) {
  for (int r = 0; r < kRows; ++r) {
    float* out = s.out + r * s.dim + column;
    F32 sums = load_part(out, n) * broadcast(s.factors[r]);
    for (int t = 0; t < s.end; ++t) {
      const F32 value = values.part(int64_t{t} * s.dim + column, n);
      sums = fma(broadcast(s.weights[r * kScoreStride + t]), value, sums);
    }
    store_part(out, sums, n);
  }
}

// As many accumulators as hide the latency of an fma and fit the registers.
inline constexpr int kSumRows = kLanes == 1 ? 1 : 4;
inline constexpr int kSumAccumulators = kLanes == 8 ? 8 : kLanes == 1 ? 4 : 16;

template <int kRows, class Block>
inline void sum_rows(const SumOperands& s, const Block& values, Ahead ahead) {
  constexpr int kVectors = kSumAccumulators / kRows > 4 ? 4 : kSumAccumulators / kRows;
  int c = 0;
  for (; c + kVectors * kLanes <= s.dim; c += kVectors * kLanes) {
    sum_tile<kRows, kVectors>(s, values, c, c == 0 ? ahead : Ahead{});
  }
  for (; c + kLanes <= s.dim; c += kLanes) {
    sum_tile<kRows, 1>(s, values, c, c == 0 ? ahead : Ahead{});
  }
  if (c < s.dim) sum_tail<kRows>(s, values, c, s.dim - c);
}

// What becomes of values: weights and factors by row, and how many slots count.
struct Weighted {
  const float* weights;  // [rows][kScoreStride]
  const float* factors;  // [rows]
  int end;
  Ahead ahead = {};
};

template <class Block>
inline void sum_all(const AttentionTile& tile, const Weighted& by, const Block& values) {
  for_row_tiles<kSumRows>(tile.rows, [&]<int kRows>(int r) {
    sum_rows<kRows>({by.weights + r * kScoreStride, by.factors + r,
                     tile.out + int64_t{r} * tile.value_dim, tile.value_dim, by.end},
                    values, r == 0 ? by.ahead : Ahead{});
  });
}

#include "kernels/attention_dots-inl.h"

// ---- all of it ----

inline bool by_dots(const AttentionTile& tile) { return tile.quantized_queries != nullptr; }

// More rows than this read floats that are widened once; fewer read the block itself. The sums are the same.
inline constexpr int kWidenAboveRows = 8;

inline bool widens(const AttentionTile& tile) {
  if (tile.format == KvFormat::kF32) return false;
  return tile.format == KvFormat::kQ8 || tile.rows > kWidenAboveRows || tile.value_in_key;
}

// How often the loops over a block's keys ask for what comes ahead.
inline int key_steps(const AttentionTile& tile) {
  if (!by_dots(tile)) return tile.key_dim;
  return kv_quant_groups(tile.key_dim) * kBlockVectors * kQuadsAGroup;
}
inline void score_block(const AttentionTile& tile, const std::byte* keys, float* scores,
                        Ahead ahead) {
  if (by_dots(tile)) return score_by_dots(tile, keys, scores, ahead);
  if (widens(tile)) {
    widen_keys(tile.format, keys, tile.key_dim, tile.key_dim, tile.scratch);
    return score_all(tile, F32Block{tile.scratch}, scores, ahead);
  }
  with_plain_reader(tile.format, keys,
                    [&](const auto& block) { score_all(tile, block, scores, ahead); });
}

// The values of a block that keeps none are a transposed part of its keys.
inline void sum_key_block(const AttentionTile& tile, const std::byte* keys, const Weighted& by) {
  const float* wide_keys = reinterpret_cast<const float*>(keys);
  float* values = tile.scratch + tile.key_dim * kKvBlockTokens;
  if (widens(tile)) {
    widen_keys(tile.format, keys, tile.key_dim, tile.value_dim, tile.scratch);
    wide_keys = tile.scratch;
  }
  transpose_keys(wide_keys, tile.value_dim, by.end, values);
  sum_all(tile, by, F32Block{values});
}

inline const std::byte* values_of(const AttentionTile& tile, const std::byte* block) {
  return tile.value_in_key ? nullptr : block + kv_key_bytes(tile.format, tile.key_dim);
}

inline void sum_block(const AttentionTile& tile, const std::byte* block, const Weighted& by) {
  if (tile.value_in_key) return sum_key_block(tile, block, by);
  const std::byte* values = values_of(tile, block);
  if (widens(tile)) {
    float* wide_values = tile.scratch + tile.key_dim * kKvBlockTokens;
    widen_values(tile.format, values, tile.value_dim, by.end, wide_values);
    return sum_all(tile, by, F32Block{wide_values});
  }
  with_plain_reader(tile.format, values, [&](const auto& plain) { sum_all(tile, by, plain); });
}

// The order in which attend() reads: the keys of all blocks, then their values, then the keys that follow. Memory answers
// late, so each stage fetches another one kAheadBytes or so behind it; or `count` stages behind it, where the values of all
// blocks are read side by side.
class Stages {
 public:
  Stages(const AttentionTile& tile, const std::byte* const* blocks, int count, int following)
      : tile_(tile), blocks_(blocks), count_(count), known_(count + following) {
    constexpr size_t kAheadBytes = 8192;
    distance_ =
        by_dots(tile) ? count : static_cast<int>((kAheadBytes + key_bytes() - 1) / key_bytes());
  }
  Ahead after(int stage, int steps) const {
    const int i = stage + distance_;
    const int values = tile_.value_in_key ? 0 : count_;
    if (i >= count_ && i < count_ + values) {
      return make_ahead(values_of(tile_, blocks_[i - count_]),
                        kv_value_bytes(tile_.format, tile_.value_dim), steps);
    }
    const int block = i < count_ ? i : i - values;
    return make_ahead(block < known_ ? blocks_[block] : nullptr, key_bytes(), steps);
  }

 private:
  size_t key_bytes() const { return kv_key_bytes(tile_.format, tile_.key_dim); }

  const AttentionTile& tile_;
  const std::byte* const* blocks_;
  int count_, known_, distance_;
};

// Each row's out gets the blocks' values by the row's scores, of which `end` count.
inline void sum_each(const AttentionTile& tile, const std::byte* const* blocks, int count,
                     const Stages& stages, const Weighted& by) {
  float factors[kMaxAttentionRows];
  for (int r = 0; r < tile.rows; ++r) factors[r] = by.factors[r];
  for (int b = 0; b * kKvBlockTokens < by.end; ++b) {
    const int left = by.end - b * kKvBlockTokens;
    const int slots = left < kKvBlockTokens ? left : kKvBlockTokens;
    const Ahead ahead = stages.after(count + b, slots);
    sum_block(tile, blocks[b], {by.weights + b * kKvBlockTokens, factors, slots, ahead});
    for (int r = 0; r < tile.rows; ++r) factors[r] = 1.0f;
  }
}

inline void sum_together(const AttentionTile& tile, const std::byte* const* blocks, int count,
                         const Stages& stages, float* weights, const float* factors, int end) {
  const int steps = (tile.value_dim + kLanes - 1) / kLanes * kQuadsAGroup;
  DotBlocks together;
  for (int b = 0; b < count; ++b) {
    together.values[b] = q8_block(values_of(tile, blocks[b]), tile.value_dim);
    together.ahead[b] = stages.after(count + b, steps);
  }
  together.count = (end + kKvBlockTokens - 1) / kKvBlockTokens;
  sum_by_dots(tile, together, weights, factors, end);
}

inline void attend(const AttentionTile& tile, const std::byte* const* blocks, int count,
                   int following, int32_t position) {
  const Stages stages(tile, blocks, count, following);
  float* scores = tile.scratch + (tile.key_dim + tile.value_dim) * kKvBlockTokens;
  for (int b = 0; b < count; ++b) {
    score_block(tile, blocks[b], scores + b * kKvBlockTokens, stages.after(b, key_steps(tile)));
  }
  float factors[kMaxAttentionRows];
  const int slots = count * kKvBlockTokens, end = end_of_slots(tile, position, slots);
  if (by_dots(tile)) {
    soften_all<true>(tile, position, slots, scores, factors);
    return sum_together(tile, blocks, count, stages, scores, factors, end);
  }
  soften_all<false>(tile, position, slots, scores, factors);
  sum_each(tile, blocks, count, stages, {scores, factors, end});
}

inline constexpr AttentionKernels make_attention_kernels() {
  return {store_key, store_value, attend, nullptr};
}
