// Included by vector-inl.h.

inline constexpr int kBlockVectors = kKvBlockTokens / kLanes;
inline constexpr int kScoreStride = kKvBlockTokens * kAttentionBlocks;  // scores of a row
inline constexpr float kMinusInfinity = -__builtin_inff();

// ---- storing one position ----

// One position's elements go to to[i * step].
inline void store_floats(float* to, int64_t step, const float* from, int dim) {
  for (int i = 0; i < dim; ++i) to[i * step] = from[i];
}

template <bool kBrain>
inline void store_halves(uint16_t* to, int64_t step, const float* from, int dim) {
  const auto narrowed = [&](uint16_t* lanes, int i, int n) {
    const F32 v = load_part(from + i, n);
    kBrain ? store_bf16_part(lanes, v, n) : store_f16_part(lanes, v, n);
  };
  for (int i = 0; i < dim; i += kLanes) {
    const int n = dim - i < kLanes ? dim - i : kLanes;
    if (step == 1) {
      narrowed(to + i, i, n);
      continue;
    }
    uint16_t lanes[kLanes];
    narrowed(lanes, i, n);
    for (int k = 0; k < n; ++k) to[(i + k) * step] = lanes[k];
  }
}

// A bf16 scale not below greatest / 127, so that no code leaves [-127, 127].
inline uint16_t q8_scale(float greatest) {
  uint32_t bits;
  const float exact = greatest / 127.0f;
  __builtin_memcpy(&bits, &exact, sizeof(bits));
  return static_cast<uint16_t>((bits + 0xffff) >> 16);
}

inline void store_q8(int8_t* codes, int64_t step, uint16_t* scales, int64_t scale_step,
                     const float* from, int dim) {
  for (int first = 0, g = 0; first < dim; first += kKvQuantGroup, ++g) {
    const int end = first + kKvQuantGroup < dim ? first + kKvQuantGroup : dim;
    float greatest = 0;
    for (int i = first; i < end; ++i) {
      const float size = __builtin_fabsf(from[i]);
      greatest = size > greatest ? size : greatest;
    }
    const uint16_t scale = q8_scale(greatest);
    scales[g * scale_step] = scale;
    const uint32_t scale_bits = static_cast<uint32_t>(scale) << 16;
    float widened;
    __builtin_memcpy(&widened, &scale_bits, sizeof(widened));
    const float inverse = widened > 0 ? 1.0f / widened : 0.0f;
    for (int i = first; i < end; ++i) {
      codes[i * step] = static_cast<int8_t>(__builtin_nearbyintf(from[i] * inverse));
    }
  }
}

inline void store_position(KvFormat format, std::byte* block, int64_t first, int64_t step,
                           int64_t first_scale, int64_t scale_step, const float* from, int dim) {
  switch (format) {
    case KvFormat::kF32:
      return store_floats(reinterpret_cast<float*>(block) + first, step, from, dim);
    case KvFormat::kF16:
      return store_halves<false>(reinterpret_cast<uint16_t*>(block) + first, step, from, dim);
    case KvFormat::kBF16:
      return store_halves<true>(reinterpret_cast<uint16_t*>(block) + first, step, from, dim);
    case KvFormat::kQ8: {
      auto* scales = reinterpret_cast<uint16_t*>(block + kv_codes_bytes(format, dim));
      return store_q8(reinterpret_cast<int8_t*>(block) + first, step, scales + first_scale,
                      scale_step, from, dim);
    }
  }
}

inline void store_key(KvFormat format, std::byte* block, int slot, const float* key, int dim) {
  store_position(format, block, slot, kKvBlockTokens, slot, kKvBlockTokens, key, dim);
}

inline void store_value(KvFormat format, std::byte* block, int slot, const float* value, int dim) {
  store_position(format, block, int64_t{slot} * dim, 1, int64_t{slot} * kv_quant_groups(dim), 1,
                 value, dim);
}

// ---- reading a block ----
//
// A reader gives vectors of a block's elements as floats. Scales are looked up once for the kKvQuantGroup dims they serve.

struct NoScales {};

struct F32Block {
  const float* data;
  NoScales key_scales(int) const { return {}; }
  F32 key(NoScales, int, int64_t i) const { return load(data + i); }
  F32 value(int, int, int64_t i) const { return load(data + i); }
  F32 value_part(int, int, int64_t i, int n) const { return load_part(data + i, n); }
};

struct F16Block {
  const uint16_t* data;
  NoScales key_scales(int) const { return {}; }
  F32 key(NoScales, int, int64_t i) const { return load_f16(data + i); }
  F32 value(int, int, int64_t i) const { return load_f16(data + i); }
  F32 value_part(int, int, int64_t i, int n) const { return load_f16_part(data + i, n); }
};

struct BF16Block {
  const uint16_t* data;
  NoScales key_scales(int) const { return {}; }
  F32 key(NoScales, int, int64_t i) const { return load_bf16(data + i); }
  F32 value(int, int, int64_t i) const { return load_bf16(data + i); }
  F32 value_part(int, int, int64_t i, int n) const { return load_bf16_part(data + i, n); }
};

struct Q8Block {
  const int8_t* codes;
  const uint16_t* scales;
  int groups;

  struct Scales {
    F32 of[kBlockVectors];
  };
  Scales key_scales(int group) const {
    Scales loaded;
    COHORT_UNROLL for (int v = 0; v < kBlockVectors; ++v) {
      loaded.of[v] = load_bf16(scales + group * kKvBlockTokens + v * kLanes);
    }
    return loaded;
  }
  F32 key(const Scales& loaded, int v, int64_t i) const {
    return load_i8(codes + i) * loaded.of[v];
  }
  F32 value_scale(int slot, int column) const {
    return broadcast(bf16_to_float(scales[slot * groups + column / kKvQuantGroup]));
  }
  F32 value(int slot, int column, int64_t i) const {
    return load_i8(codes + i) * value_scale(slot, column);
  }
  F32 value_part(int slot, int column, int64_t i, int n) const {
    return load_i8_part(codes + i, n) * value_scale(slot, column);
  }
};

inline Q8Block q8_block(const std::byte* block, int dim) {
  return {reinterpret_cast<const int8_t*>(block),
          reinterpret_cast<const uint16_t*>(block + kv_codes_bytes(KvFormat::kQ8, dim)),
          kv_quant_groups(dim)};
}

template <class Body>
inline void with_reader(KvFormat format, const std::byte* block, int dim, Body body) {
  const auto* halves = reinterpret_cast<const uint16_t*>(block);
  switch (format) {
    case KvFormat::kF32: return body(F32Block{reinterpret_cast<const float*>(block)});
    case KvFormat::kF16: return body(F16Block{halves});
    case KvFormat::kBF16: return body(BF16Block{halves});
    case KvFormat::kQ8: return body(q8_block(block, dim));
  }
}

template <class Block>
inline void widen_keys(const Block& keys, int dim, float* to) {
  for (int first = 0; first < dim; first += kKvQuantGroup) {
    const auto scales = keys.key_scales(first / kKvQuantGroup);
    const int end = first + kKvQuantGroup < dim ? first + kKvQuantGroup : dim;
    for (int64_t i = int64_t{first} * kKvBlockTokens; i < int64_t{end} * kKvBlockTokens;
         i += kKvBlockTokens) {
      COHORT_UNROLL for (int v = 0; v < kBlockVectors; ++v) {
        store(to + i + v * kLanes, keys.key(scales, v, i + v * kLanes));
      }
    }
  }
}

template <class Block>
inline void widen_values(const Block& values, int dim, int end, float* to) {
  for (int t = 0; t < end; ++t) {
    const int64_t row = int64_t{t} * dim;
    for_each_vector(
        dim, [&](int64_t c) { store(to + row + c, values.value(t, static_cast<int>(c), row + c)); },
        [&](int64_t c, int n) {
          store_part(to + row + c, values.value_part(t, static_cast<int>(c), row + c, n), n);
        });
  }
}

inline void transpose_keys(const float* keys, int dim, int end, float* values) {
  for (int t = 0; t < end; ++t) {
    for (int d = 0; d < dim; ++d) values[t * dim + d] = keys[d * kKvBlockTokens + t];
  }
}

// ---- scores ----

// A block that will be read soon, fetched a little in each step of a loop over what is read now.
struct Ahead {
  const std::byte* at = nullptr;
  int lines_a_step = 0;

  void fetch() {
    for (int i = 0; i < lines_a_step; ++i, at += 64) __builtin_prefetch(at);
  }
};

inline Ahead make_ahead(const std::byte* block, KvFormat format, int dim, int steps) {
  if (block == nullptr) return {};
  const auto lines = static_cast<int>(kv_block_bytes(format, dim) / 64);
  return {block, (lines + steps - 1) / steps};
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
  for (int first = 0; first < dim; first += kKvQuantGroup) {
    const auto scales = keys.key_scales(first / kKvQuantGroup);
    const int end = first + kKvQuantGroup < dim ? first + kKvQuantGroup : dim;
    for (int d = first; d < end; ++d) {
      ahead.fetch();
      F32 key[kBlockVectors];
      COHORT_UNROLL for (int v = 0; v < kBlockVectors; ++v) {
        key[v] = keys.key(scales, v, int64_t{d} * kKvBlockTokens + v * kLanes);
      }
      COHORT_UNROLL for (int r = 0; r < kRows; ++r) {
        const F32 query = broadcast(queries[r * dim + d]);
        COHORT_UNROLL for (int v = 0; v < kBlockVectors; ++v) sums[r][v] =
            fma(query, key[v], sums[r][v]);
      }
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

// Turns a row's scores of the slots [begin, end) into exp(score - max) and the others of [0, slots) into 0. Returns what
// the row's earlier sums have to be multiplied with.
inline float soften_row(float* scores, int begin, int end, int slots, float& max_so_far,
                        float& sum_so_far) {
  for (int t = 0; t < begin; ++t) scores[t] = kMinusInfinity;
  for (int t = end; t < slots; ++t) scores[t] = kMinusInfinity;
  F32 greatest = load(scores);
  for (int t = kLanes; t < slots; t += kLanes) greatest = max(greatest, load(scores + t));
  const float before = max_so_far, here = maximum(greatest);
  const float now = here > before ? here : before;
  F32 sums = zero();
  for (int t = 0; t < slots; t += kLanes) {
    const F32 weight = exp(load(scores + t) - broadcast(now));
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

// Softens all rows, and returns the end of the slots that any of them sees.
inline int soften_all(const AttentionTile& tile, int32_t position, int slots, float* scores,
                      float* factors) {
  int last_end = 0;
  for (int r = 0; r < tile.rows; ++r) {
    const int begin = tile.first[r] > position ? tile.first[r] - position : 0;
    const int seen = tile.last[r] - position + 1;
    const int end = seen < slots ? seen : slots;
    float* row = scores + r * kScoreStride;
    if (begin >= end) {
      for (int t = 0; t < slots; ++t) row[t] = 0.0f;
      factors[r] = 1.0f;
      continue;
    }
    factors[r] = soften_row(row, begin, end, slots, tile.max[r], tile.sum[r]);
    last_end = end > last_end ? end : last_end;
  }
  return last_end;
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
    COHORT_UNROLL for (int v = 0; v < kVectors; ++v) {
      value[v] = values.value(t, column + v * kLanes, at + v * kLanes);
    }
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
      const F32 value = values.value_part(t, column, int64_t{t} * s.dim + column, n);
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

// What becomes of a block's values: weights and factors by row, and how many slots count.
struct Weighted {
  const float* weights;  // [rows][kScoreStride]
  const float* factors;  // [rows]
  int end;
  Ahead ahead;
};

template <class Block>
inline void sum_all(const AttentionTile& tile, const Weighted& by, const Block& values) {
  for_row_tiles<kSumRows>(tile.rows, [&]<int kRows>(int r) {
    sum_rows<kRows>({by.weights + r * kScoreStride, by.factors + r,
                     tile.out + int64_t{r} * tile.value_dim, tile.value_dim, by.end},
                    values, r == 0 ? by.ahead : Ahead{});
  });
}

// ---- all of it ----

// More rows than this read floats that are widened once; fewer read the block itself. The sums are the same.
inline constexpr int kWidenAboveRows = 8;

inline bool widens(const AttentionTile& tile) {
  return tile.format != KvFormat::kF32 && (tile.rows > kWidenAboveRows || tile.value_in_key);
}

inline void score_block(const AttentionTile& tile, const std::byte* keys, float* scores,
                        Ahead ahead) {
  with_reader(tile.format, keys, tile.key_dim, [&](const auto& block) {
    if (!widens(tile)) return score_all(tile, block, scores, ahead);
    widen_keys(block, tile.key_dim, tile.scratch);
    score_all(tile, F32Block{tile.scratch}, scores, ahead);
  });
}

// The values of a block that keeps none are a transposed part of its keys.
inline void sum_key_block(const AttentionTile& tile, const std::byte* keys, const Weighted& by) {
  const float* wide_keys = reinterpret_cast<const float*>(keys);
  float* values = tile.scratch + tile.key_dim * kKvBlockTokens;
  if (widens(tile)) {
    with_reader(tile.format, keys, tile.key_dim,
                [&](const auto& block) { widen_keys(block, tile.value_dim, tile.scratch); });
    wide_keys = tile.scratch;
  }
  transpose_keys(wide_keys, tile.value_dim, by.end, values);
  sum_all(tile, by, F32Block{values});
}

inline const std::byte* values_of(const AttentionTile& tile, const std::byte* block) {
  return tile.value_in_key ? nullptr : block + kv_block_bytes(tile.format, tile.key_dim);
}

inline void sum_block(const AttentionTile& tile, const std::byte* block, const Weighted& by) {
  if (tile.value_in_key) return sum_key_block(tile, block, by);
  with_reader(tile.format, values_of(tile, block), tile.value_dim, [&](const auto& values) {
    if (!widens(tile)) return sum_all(tile, by, values);
    float* wide_values = tile.scratch + tile.key_dim * kKvBlockTokens;
    widen_values(values, tile.value_dim, by.end, wide_values);
    sum_all(tile, by, F32Block{wide_values});
  });
}

// The order in which attend() reads: the keys of all blocks, then their values, then the keys that follow. Memory answers
// late, so each stage fetches another one kAheadBytes or so behind it.
class Stages {
 public:
  Stages(const AttentionTile& tile, const std::byte* const* blocks, int count, int following)
      : tile_(tile), blocks_(blocks), count_(count), known_(count + following) {
    constexpr int64_t kAheadBytes = 8192;
    const auto size = static_cast<int64_t>(kv_block_bytes(tile.format, tile.key_dim));
    distance_ = static_cast<int>((kAheadBytes + size - 1) / size);
  }
  Ahead after(int stage, int steps) const {
    const int i = stage + distance_;
    const int values = tile_.value_in_key ? 0 : count_;
    if (i >= count_ && i < count_ + values) {
      return make_ahead(values_of(tile_, blocks_[i - count_]), tile_.format, tile_.value_dim,
                        steps);
    }
    const int block = i < count_ ? i : i - values;
    return make_ahead(block < known_ ? blocks_[block] : nullptr, tile_.format, tile_.key_dim,
                      steps);
  }

 private:
  const AttentionTile& tile_;
  const std::byte* const* blocks_;
  int count_, known_, distance_;
};

inline void attend(const AttentionTile& tile, const std::byte* const* blocks, int count,
                   int following, int32_t position) {
  const Stages stages(tile, blocks, count, following);
  float* scores = tile.scratch + (tile.key_dim + tile.value_dim) * kKvBlockTokens;
  for (int b = 0; b < count; ++b) {
    score_block(tile, blocks[b], scores + b * kKvBlockTokens, stages.after(b, tile.key_dim));
  }
  float factors[kMaxAttentionRows];
  const int end = soften_all(tile, position, count * kKvBlockTokens, scores, factors);
  for (int b = 0; b * kKvBlockTokens < end; ++b) {
    const int left = end - b * kKvBlockTokens;
    const int slots = left < kKvBlockTokens ? left : kKvBlockTokens;
    const Ahead ahead = stages.after(count + b, slots);
    sum_block(tile, blocks[b], {scores + b * kKvBlockTokens, factors, slots, ahead});
    for (int r = 0; r < tile.rows; ++r) factors[r] = 1.0f;
  }
}

inline constexpr AttentionKernels make_attention_kernels() {
  return {store_key, store_value, attend};
}
