// Included by vector-inl.h. Blocks are widened to float32 once and then serve all rows of the tile.

inline constexpr int kBlockVectors = kKvBlockTokens / kLanes;
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
    for (int i = first; i < end; ++i)
      greatest = __builtin_fmaxf(greatest, __builtin_fabsf(from[i]));
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

// ---- widening a block ----

template <class Load, class LoadPart>
inline void widen(const uint16_t* from, float* to, int64_t size, Load load_full,
                  LoadPart load_some) {
  for_each_vector(
      size, [&](int64_t i) { store(to + i, load_full(from + i)); },
      [&](int64_t i, int n) { store_part(to + i, load_some(from + i, n), n); });
}

inline void widen_q8_keys(const std::byte* block, int dim, float* to) {
  const auto* codes = reinterpret_cast<const int8_t*>(block);
  const auto* scales =
      reinterpret_cast<const uint16_t*>(block + kv_codes_bytes(KvFormat::kQ8, dim));
  for (int d = 0; d < dim; ++d) {
    const uint16_t* scale = scales + d / kKvQuantGroup * kKvBlockTokens;
    for (int t = 0; t < kKvBlockTokens; t += kLanes) {
      store(to + d * kKvBlockTokens + t,
            load_i8(codes + d * kKvBlockTokens + t) * load_bf16(scale + t));
    }
  }
}

inline void widen_q8_values(const std::byte* block, int dim, float* to) {
  const auto* codes = reinterpret_cast<const int8_t*>(block);
  const auto* scales =
      reinterpret_cast<const uint16_t*>(block + kv_codes_bytes(KvFormat::kQ8, dim));
  for (int t = 0; t < kKvBlockTokens; ++t) {
    for (int first = 0; first < dim; first += kKvQuantGroup) {
      const F32 scale = broadcast(bf16_to_float(*scales++));
      const int count = dim - first < kKvQuantGroup ? dim - first : kKvQuantGroup;
      const int8_t* group = codes + t * dim + first;
      float* out = to + t * dim + first;
      for_each_vector(
          count, [&](int64_t i) { store(out + i, load_i8(group + i) * scale); },
          [&](int64_t i, int n) { store_part(out + i, load_i8_part(group + i, n) * scale, n); });
    }
  }
}

// The block as floats: where it lies if it holds floats, else in `to`.
inline const float* widen_block(KvFormat format, const std::byte* block, int dim, bool keys,
                                float* to) {
  const int64_t size = int64_t{dim} * kKvBlockTokens;
  const auto* halves = reinterpret_cast<const uint16_t*>(block);
  switch (format) {
    case KvFormat::kF32: return reinterpret_cast<const float*>(block);
    case KvFormat::kF16: widen(halves, to, size, load_f16, load_f16_part); break;
    case KvFormat::kBF16: widen(halves, to, size, load_bf16, load_bf16_part); break;
    case KvFormat::kQ8:
      keys ? widen_q8_keys(block, dim, to) : widen_q8_values(block, dim, to);
      break;
  }
  return to;
}

inline void transpose_keys(const float* keys, int dim, float* values) {
  for (int t = 0; t < kKvBlockTokens; ++t) {
    for (int d = 0; d < dim; ++d) values[t * dim + d] = keys[d * kKvBlockTokens + t];
  }
}

// ---- scores, softmax, sums ----

// Rows a register tile holds: rows * kBlockVectors accumulators, and some registers left for keys and queries.
inline constexpr int kScoreRows = kLanes == 16 ? 8 : kLanes == 8 ? 3 : kLanes == 4 ? 3 : 1;

template <int kRows>
inline void score_rows(const float* queries, int dim, const float* keys, float* scores) {
  F32 sums[kRows][kBlockVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 32
    for (int v = 0; v < kBlockVectors; ++v) sums[r][v] = zero();
  }
  for (int d = 0; d < dim; ++d) {
    F32 key[kBlockVectors];
#pragma GCC unroll 32
    for (int v = 0; v < kBlockVectors; ++v) key[v] = load(keys + d * kKvBlockTokens + v * kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const F32 query = broadcast(queries[r * dim + d]);
#pragma GCC unroll 32
      for (int v = 0; v < kBlockVectors; ++v) sums[r][v] = fma(query, key[v], sums[r][v]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 32
    for (int v = 0; v < kBlockVectors; ++v)
      store(scores + r * kKvBlockTokens + v * kLanes, sums[r][v]);
  }
}

inline void score_all(const AttentionTile& tile, const float* keys, float* scores) {
  int r = 0;
  for (; r + kScoreRows <= tile.rows; r += kScoreRows) {
    score_rows<kScoreRows>(tile.queries + r * tile.key_dim, tile.key_dim, keys,
                           scores + r * kKvBlockTokens);
  }
  for (; kScoreRows > 4 && r + 4 <= tile.rows; r += 4) {
    score_rows<4>(tile.queries + r * tile.key_dim, tile.key_dim, keys, scores + r * kKvBlockTokens);
  }
  for (; kScoreRows > 2 && r + 2 <= tile.rows; r += 2) {
    score_rows<2>(tile.queries + r * tile.key_dim, tile.key_dim, keys, scores + r * kKvBlockTokens);
  }
  for (; r < tile.rows; ++r) {
    score_rows<1>(tile.queries + r * tile.key_dim, tile.key_dim, keys, scores + r * kKvBlockTokens);
  }
}

// Turns a row's scores of the slots [begin, end) into exp(score - max) and the others into 0. Returns what the row's
// earlier sums have to be multiplied with.
inline float soften_row(float* scores, int begin, int end, float& max_so_far, float& sum_so_far) {
  for (int t = 0; t < begin; ++t) scores[t] = kMinusInfinity;
  for (int t = end; t < kKvBlockTokens; ++t) scores[t] = kMinusInfinity;
  F32 greatest = load(scores);
  for (int t = kLanes; t < kKvBlockTokens; t += kLanes) greatest = max(greatest, load(scores + t));
  const float now = __builtin_fmaxf(max_so_far, maximum(greatest));
  F32 sums = zero();
  for (int t = 0; t < kKvBlockTokens; t += kLanes) {
    const F32 weight = exp(load(scores + t) - broadcast(now));
    store(scores + t, weight);
    sums = sums + weight;
  }
  float factor[kLanes];
  store(factor, exp(broadcast(max_so_far - now)));
  sum_so_far = sum_so_far * factor[0] + sum(sums);
  max_so_far = now;
  return factor[0];
}

// out[r] = out[r] * factor[r] + sum over the slots [0, end) of weights[r][t] * values[t], for kVectors vectors of columns.
template <int kRows, int kVectors>
inline void sum_tile(const float* weights, const float* factors, const float* values, int dim,
                     int end, float* out) {
  F32 sums[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v)
      sums[r][v] = load(out + r * dim + v * kLanes) * broadcast(factors[r]);
  }
  for (int t = 0; t < end; ++t) {
    F32 value[kVectors];
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) value[v] = load(values + t * dim + v * kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
      const F32 weight = broadcast(weights[r * kKvBlockTokens + t]);
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) sums[r][v] = fma(weight, value[v], sums[r][v]);
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) store(out + r * dim + v * kLanes, sums[r][v]);
  }
}

// The last columns, fewer than a vector.
template <int kRows>
inline void sum_tail(const float* weights, const float* factors, const float* values, int dim,
                     int end, float* out, int n) {
  for (int r = 0; r < kRows; ++r) {
    F32 sums = load_part(out + r * dim, n) * broadcast(factors[r]);
    for (int t = 0; t < end; ++t) {
      sums = fma(broadcast(weights[r * kKvBlockTokens + t]), load_part(values + t * dim, n), sums);
    }
    store_part(out + r * dim, sums, n);
  }
}

template <int kRows>
inline void sum_rows(const float* weights, const float* factors, const float* values, int dim,
                     int end, float* out) {
  constexpr int kVectors = kLanes == 8 ? 2 : 4;
  int c = 0;
  for (; c + kVectors * kLanes <= dim; c += kVectors * kLanes) {
    sum_tile<kRows, kVectors>(weights, factors, values + c, dim, end, out + c);
  }
  for (; c + kLanes <= dim; c += kLanes) {
    sum_tile<kRows, 1>(weights, factors, values + c, dim, end, out + c);
  }
  if (c < dim) sum_tail<kRows>(weights, factors, values + c, dim, end, out + c, dim - c);
}

inline void sum_all(const AttentionTile& tile, const float* weights, const float* factors,
                    const float* values, int end) {
  const int dim = tile.value_dim;
  int r = 0;
  for (; r + 4 <= tile.rows; r += 4) {
    sum_rows<4>(weights + r * kKvBlockTokens, factors + r, values, dim, end,
                tile.out + int64_t{r} * dim);
  }
  for (; r < tile.rows; ++r) {
    sum_rows<1>(weights + r * kKvBlockTokens, factors + r, values, dim, end,
                tile.out + int64_t{r} * dim);
  }
}

inline void attend(const AttentionTile& tile, const std::byte* keys, const std::byte* values,
                   int32_t position) {
  float* wide_keys = tile.scratch;
  float* wide_values = wide_keys + tile.key_dim * kKvBlockTokens;
  float* scores = wide_values + tile.value_dim * kKvBlockTokens;
  const float* key = widen_block(tile.format, keys, tile.key_dim, true, wide_keys);
  score_all(tile, key, scores);

  float factors[kMaxAttentionRows];
  int last_end = 0;
  for (int r = 0; r < tile.rows; ++r) {
    const int begin = tile.first[r] > position ? tile.first[r] - position : 0;
    const int end =
        tile.last[r] - position + 1 < kKvBlockTokens ? tile.last[r] - position + 1 : kKvBlockTokens;
    float* row = scores + r * kKvBlockTokens;
    factors[r] = 1.0f;
    if (begin >= end) {
      for (int t = 0; t < kKvBlockTokens; ++t) row[t] = 0.0f;
      continue;
    }
    factors[r] = soften_row(row, begin, end, tile.max[r], tile.sum[r]);
    last_end = end > last_end ? end : last_end;
  }

  const float* value = wide_values;
  if (tile.value_in_key) {
    transpose_keys(key, tile.value_dim, wide_values);
  } else {
    value = widen_block(tile.format, values, tile.value_dim, false, wide_values);
  }
  sum_all(tile, scores, factors, value, last_end);
}

inline constexpr AttentionKernels make_attention_kernels() {
  return {store_key, store_value, attend};
}
