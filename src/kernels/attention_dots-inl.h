// Included by attention-inl.h: scores and sums of kQ8 blocks by integer dot products. What the codes are multiplied with is
// rounded to 8 bits as well, by groups of 32: queries once, by the caller; softmax weights, times the values' scales, here.

inline constexpr int kQuadsAGroup = kKvQuantGroup / 4;
static_assert(kKvQuantGroup == kActivationGroup && kKvBlockTokens == kActivationGroup);

// Codes as dot_quads() takes them.
inline U32 dot_codes(U32 quads) {
  if constexpr (kByteOffset == kKvCodeOffset) return signed_codes(quads);
  return quads;
}

inline U32 dot_group(const U32 (&quads)[kQuadsAGroup], const int8_t* x) {
  constexpr int kAtOnce = kQuadsAtOnce < kQuadsAGroup ? kQuadsAtOnce : kQuadsAGroup;
  U32 total = splat(0);
  COHORT_UNROLL for (int i = 0; i < kQuadsAGroup; i += kAtOnce) {
    total = dot_quads<kAtOnce, 255>(total, quads + i, x + 4 * i);
  }
  return total;
}

// ---- scores ----

inline constexpr int kGroupsAtOnce = kLanes == 16 ? 2 : 1;  // their quads stay in registers

// Scores of kLanes positions from `slot` on, of kGroups groups of dims.
template <int kGroups>
inline void score_groups(const AttentionTile& tile, const Q8Block& keys, int group, int slot,
                         float* scores, Ahead& ahead) {
  constexpr float kExcess = kKvCodeOffset - kByteOffset;  // of a code, as dot_quads() takes it
  U32 quads[kGroups][kQuadsAGroup];
  F32 scales[kGroups], excess[kGroups];
  COHORT_UNROLL for (int g = 0; g < kGroups; ++g) {
    COHORT_UNROLL for (int i = 0; i < kQuadsAGroup; ++i) {
      ahead.fetch();
      const int d = (group + g) * kKvQuantGroup + 4 * i;
      quads[g][i] = d < tile.key_dim ? dot_codes(keys.quads(q8_key_at(d, slot))) : splat(0);
    }
    scales[g] = keys.key_scales(group + g, slot);
    excess[g] = scales[g] * broadcast(-kExcess);
  }
  const QuantizedGroup* query = tile.quantized_queries + group;
  for (int r = 0; r < tile.rows; ++r, query += kv_quant_groups(tile.key_dim)) {
    float* at = scores + r * kScoreStride;
    F32 sums = group == 0 ? zero() : load(at);
    COHORT_UNROLL for (int g = 0; g < kGroups; ++g) {
      const F32 dots = to_f32(dot_group(quads[g], query[g].codes));
      sums = fma(dots * broadcast(query[g].scale), scales[g], sums);
      if constexpr (kExcess != 0) sums = fma(broadcast(query[g].sum), excess[g], sums);
    }
    store(at, sums);
  }
}

inline void score_by_dots(const AttentionTile& tile, const std::byte* block, float* scores,
                          Ahead ahead) {
  const Q8Block keys = q8_block(block, tile.key_dim);
  const int groups = kv_quant_groups(tile.key_dim);
  for (int slot = 0; slot < kKvBlockTokens; slot += kLanes) {
    int g = 0;
    for (; g + kGroupsAtOnce <= groups; g += kGroupsAtOnce)
      score_groups<kGroupsAtOnce>(tile, keys, g, slot, scores + slot, ahead);
    for (; g < groups; ++g) score_groups<1>(tile, keys, g, slot, scores + slot, ahead);
  }
}

// ---- sums of values ----

// A row's weights of a block's slots, times the values' scales: about scale * codes[t]. Slots that do not count have
// nothing, whatever is there.
struct QuantizedWeights {
  uint8_t codes[kKvBlockTokens];  // 0..254
  float scale;
};

// Blocks whose values are summed at once.
struct DotBlocks {
  Q8Block values[kAttentionBlocks];
  Ahead ahead[kAttentionBlocks];
  int count = 0;
  QuantizedWeights weights[kMaxAttentionRows][kAttentionBlocks];
};

// Weights of some rows and blocks: kLanes of them are rounded side by side, for what takes long is to find the greatest.
class WeightRounding {
 public:
  WeightRounding(const AttentionTile& tile, DotBlocks& blocks, float* weights, int end)
      : blocks_(blocks), weights_(weights), all_(tile.rows * kAttentionBlocks) {
    for (int b = 0; b < blocks.count; ++b) {
      for (int slot = 0; slot < kKvBlockTokens; slot += kLanes) {
        store(scales_ + b * kKvBlockTokens + slot,
              blocks.values[b].value_scales(slot, end - b * kKvBlockTokens));
      }
    }
  }
  void operator()() {
    for (int first = 0; first < all_; first += kLanes) round_some(first);
  }

 private:
  static int row(int i) { return i / kAttentionBlocks; }
  static int block(int i) { return i % kAttentionBlocks; }
  bool is_there(int i) const { return i < all_ && block(i) < blocks_.count; }
  float* weights(int i) const {
    return weights_ + row(i) * kScoreStride + block(i) * kKvBlockTokens;
  }

  void round_some(int first) {
    F32 greatest[kLanes];
    for (int i = 0; i < kLanes; ++i)
      greatest[i] = is_there(first + i) ? scale_one(first + i) : zero();
    const F32 scales = each_maximum(greatest) * broadcast(1.0f / 254.0f);
    const F32 least = broadcast(0x1p-126f);
    float scale[kLanes], inverse[kLanes];
    store(scale, scales);
    store(inverse, select_less(least, scales, broadcast(1.0f) / max(scales, least), zero()));
    for (int i = 0; i < kLanes; ++i) {
      if (is_there(first + i)) round_one(first + i, scale[i], inverse[i]);
    }
  }
  // By the values' scales, in place; returns the greatest by lanes.
  F32 scale_one(int i) {
    float* at = weights(i);
    F32 greatest = zero();
    COHORT_UNROLL for (int t = 0; t < kKvBlockTokens; t += kLanes) {
      const F32 scaled = load(at + t) * load(scales_ + block(i) * kKvBlockTokens + t);
      store(at + t, scaled);
      greatest = max(greatest, scaled);
    }
    return greatest;
  }
  void round_one(int i, float scale, float inverse) {
    QuantizedWeights& out = blocks_.weights[row(i)][block(i)];
    const float* at = weights(i);
    out.scale = scale;
    COHORT_UNROLL for (int t = 0; t < kKvBlockTokens; t += kLanes) {
      store_u8(out.codes + t, min(round(load(at + t) * broadcast(inverse)), broadcast(254.0f)));
    }
  }

  DotBlocks& blocks_;
  float* weights_;  // [rows][kScoreStride]
  int all_;
  float scales_[kScoreStride];
};

// out[r] = out[r] * factors[r] + the sum over the blocks, of kLanes columns, or `n` if fewer, from `column` on.
template <int kRows>
inline void sum_columns(const AttentionTile& tile, DotBlocks& blocks, const float* factors,
                        int first_row, int column) {
  const int n = tile.value_dim - column;
  float* out = tile.out + int64_t{first_row} * tile.value_dim + column;
  F32 sums[kRows];
  COHORT_UNROLL for (int r = 0; r < kRows; ++r) {
    const float* at = out + r * tile.value_dim;
    sums[r] = (n >= kLanes ? load(at) : load_part(at, n)) * broadcast(factors[first_row + r]);
  }
  for (int b = 0; b < blocks.count; ++b) {
    U32 quads[kQuadsAGroup];
    COHORT_UNROLL for (int i = 0; i < kQuadsAGroup; ++i) {
      if (first_row == 0) blocks.ahead[b].fetch();
      const int64_t at = q8_value_at(4 * i, column, tile.value_dim);
      const U32 codes =
          n >= kLanes ? blocks.values[b].quads(at) : blocks.values[b].quads_part(at, n);
      quads[i] = signed_codes(codes);
    }
    COHORT_UNROLL for (int r = 0; r < kRows; ++r) {
      const QuantizedWeights& weights = blocks.weights[first_row + r][b];
      const F32 dots = to_f32(dot_weights<kQuadsAGroup>(quads, weights.codes));
      sums[r] = fma(dots, broadcast(weights.scale), sums[r]);
    }
  }
  COHORT_UNROLL for (int r = 0; r < kRows; ++r) {
    float* at = out + r * tile.value_dim;
    n >= kLanes ? store(at, sums[r]) : store_part(at, sums[r], n);
  }
}

inline void sum_by_dots(const AttentionTile& tile, DotBlocks& blocks, float* weights,
                        const float* factors, int end) {
  WeightRounding(tile, blocks, weights, end)();
  for_row_tiles<kSumRows>(tile.rows, [&]<int kRows>(int r) {
    for (int c = 0; c < tile.value_dim; c += kLanes)
      sum_columns<kRows>(tile, blocks, factors, r, c);
  });
}
