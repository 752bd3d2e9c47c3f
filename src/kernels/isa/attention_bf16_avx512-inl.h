// Attention of many rows in bf16: scores and sums are products of tiles, and blocks of keys and values are packed for them
// as they come. Softmax weights are rounded to bf16, too, so their exponentials need not be better than that.
//
// A Product multiplies tiles of 16 rows with lines of 32 columns, both of pairs of bf16:
//
//   a        [row tile][unit][16 rows][16 pairs]: a unit is 32 bf16 of a row
//   b        [unit][16 pairs][32 columns]
//   scores   a queries, units of dims; b keys, columns are the positions of a block
//   sums     a weights, units of positions, a block each; b values, columns are dims

inline constexpr int kRowsAtOnce = 2 * kPairRows;  // of a product
inline constexpr int kPairColumns = 32;
inline constexpr int kUnitWords = kUnitBf16 / 2 * kPairColumns;  // of b
static_assert(kKvBlockTokens == kUnitBf16 && kKvBlockTokens == kPairColumns);
static_assert(kUnitBf16 == 2 * kLanes && kRowsAtOnce <= kMaxAttentionRows);

struct PairProduct {
  const std::byte* a = nullptr;
  int64_t a_tile_bytes = 0;  // from one row tile to the next
  const uint32_t* b = nullptr;
  int64_t units = 0;
  bool add = false;  // to what is in y
  float* y = nullptr;
  int64_t stride = 0;
  int64_t rows = 0, columns = 0;  // of y that exist; at most 32 columns are written
};

inline void store_line(void* to, __m512i line) { _mm512_storeu_si512(to, line); }

// What an attend() works on, in its scratch.
struct Bf16Rooms {
  uint32_t* keys;      // b of each block
  uint32_t* values;    // b of all blocks, for each 32 columns
  float* scores;       // [rows at once][kScoreStride]
  std::byte* weights;  // a of those rows, kAttentionBlocks units a row tile

  explicit Bf16Rooms(const AttentionTile& tile) {
    auto at = (reinterpret_cast<uintptr_t>(tile.scratch) + kLineBytes - 1) & -uintptr_t{kLineBytes};
    const auto take = [&at](int64_t bytes) {
      const uintptr_t room = at;
      at += static_cast<uintptr_t>(bytes);
      return room;
    };
    keys = reinterpret_cast<uint32_t*>(take(kAttentionBlocks * key_words(tile) * 4));
    values = reinterpret_cast<uint32_t*>(take(units_of(tile.value_dim) * kValueWords * 4));
    scores = reinterpret_cast<float*>(take(int64_t{kRowsAtOnce} * kScoreStride * 4));
    weights = reinterpret_cast<std::byte*>(take(row_tiles(kRowsAtOnce) * kWeightTileBytes));
  }

  static int64_t key_words(const AttentionTile& tile) {
    return units_of(tile.key_dim) * kUnitWords;
  }
  static constexpr int64_t kWeightTileBytes = int64_t{kAttentionBlocks} * kPairTileBytes;
  static constexpr int64_t kValueWords = int64_t{kAttentionBlocks} * kUnitWords;

  // Where block b's positions from `slot` on go, of columns from `column` on.
  uint32_t* values_at(int b, int slot, int column) const {
    return values + column / kPairColumns * kValueWords + int64_t{b} * kUnitWords +
           slot / 2 * kPairColumns + column % kPairColumns;
  }
};

inline void pack_bf16(const float* queries, int rows, int key_dim, std::byte* out) {
  pack_row_tiles({queries, key_dim, rows, key_dim}, {0, row_tiles(rows)}, out);
}

// ---- reading a block by quads: four dims of keys, or four positions of values ----

template <class Block>
struct PlainQuads {
  Block block;
  int dim;

  // kLanes positions from `slot` on; dims past the last are zero.
  void keys(int d, int slot, F32 (&out)[4]) const {
    const int64_t at = int64_t{d} * kKvBlockTokens + slot;
    const bool whole = d + 4 <= dim;
    COHORT_UNROLL for (int i = 0; i < 4; ++i) {
      out[i] = whole || d + i < dim ? block.at(at + i * kKvBlockTokens) : zero();
    }
  }
  // `n` columns from `column` on; positions from `end` on are zero, whatever is there.
  void values(int slot, int end, int column, int n, F32 (&out)[4]) const {
    const int64_t at = int64_t{slot} * dim + column;
    if (slot + 4 <= end && n >= kLanes) {
      COHORT_UNROLL for (int i = 0; i < 4; ++i) out[i] = block.at(at + int64_t{i} * dim);
      return;
    }
    const int lanes = n < kLanes ? n : kLanes;
    for (int i = 0; i < 4; ++i) {
      out[i] = slot + i < end ? block.part(at + int64_t{i} * dim, lanes) : zero();
    }
  }
};

struct Q8Quads {
  Q8Block block;
  int dim;

  void keys(int d, int slot, F32 (&out)[4]) const {
    const F32 scales = block.key_scales(d / kKvQuantGroup, slot);
    widen(block.quads(q8_key_at(d, slot)), out);
    COHORT_UNROLL for (int i = 0; i < 4; ++i) out[i] = d + i < dim ? out[i] * scales : zero();
  }
  void values(int slot, int end, int column, int n, F32 (&out)[4]) const {
    const int64_t at = q8_value_at(slot, column, dim);
    widen(n >= kLanes ? block.quads(at) : block.quads_part(at, n), out);
    COHORT_UNROLL for (int i = 0; i < 4; ++i) {
      out[i] = slot + i < end ? out[i] * broadcast(block.value_scale(slot + i)) : zero();
    }
  }

 private:
  static void widen(U32 quads, F32 (&out)[4]) {
    const U32 codes = signed_codes(quads);
    out[0] = code_of<0>(codes);
    out[1] = code_of<1>(codes);
    out[2] = code_of<2>(codes);
    out[3] = code_of<3>(codes);
  }
};

template <class Block>
inline PlainQuads<Block> plain_quads(const Block& block, int dim) {
  return {block, dim};
}

template <class Body>
inline void with_quads(KvFormat format, const std::byte* block, int dim, Body body) {
  if (format == KvFormat::kQ8) return body(Q8Quads{q8_block(block, dim), dim});
  with_plain_reader(format, block, [&](const auto& plain) { body(plain_quads(plain, dim)); });
}

// ---- packing ----

// How often packing a block asks for what comes ahead.
inline int pack_steps(int dim) { return (dim + 3) / 4 * kBlockVectors; }

inline void pack_keys(const AttentionTile& tile, const std::byte* block, uint32_t* out,
                      Ahead ahead) {
  with_quads(tile.format, block, tile.key_dim, [&](const auto& quads) {
    for (int d = 0; d < units_of(tile.key_dim) * kUnitBf16; d += 4, out += 2 * kPairColumns) {
      COHORT_UNROLL for (int slot = 0; slot < kKvBlockTokens; slot += kLanes) {
        ahead.fetch();
        F32 keys[4] = {zero(), zero(), zero(), zero()};
        if (d < tile.key_dim) quads.keys(d, slot, keys);
        store_line(out + slot, bf16_pairs(keys[0], keys[1]));
        store_line(out + kPairColumns + slot, bf16_pairs(keys[2], keys[3]));
      }
    }
  });
}

inline void pack_values(const AttentionTile& tile, const std::byte* block, int b, int end,
                        const Bf16Rooms& rooms, Ahead ahead) {
  with_quads(tile.format, block, tile.value_dim, [&](const auto& quads) {
    for (int slot = 0; slot < kKvBlockTokens; slot += 4) {
      for (int c = 0; c < tile.value_dim; c += kLanes) {
        ahead.fetch();
        F32 values[4];
        quads.values(slot, end, c, tile.value_dim - c, values);
        uint32_t* out = rooms.values_at(b, slot, c);
        store_line(out, bf16_pairs(values[0], values[1]));
        store_line(out + kPairColumns, bf16_pairs(values[2], values[3]));
      }
    }
  });
}

// The values of a block that keeps none: a dim's 32 positions are 16 pairs, which are to lie in 16 lines.
inline void pack_values_of_keys(const AttentionTile& tile, const std::byte* block, int b, int end,
                                const Bf16Rooms& rooms) {
  const auto counts = static_cast<__mmask32>((uint64_t{1} << end) - 1);
  with_quads(tile.format, block, tile.key_dim, [&](const auto& quads) {
    for (int c = 0; c < tile.value_dim; c += kLanes) {
      __m512i words[kLanes];
      COHORT_UNROLL for (int i = 0; i < kLanes; i += 4) {
        F32 low[4], high[4];
        const int d = c + i < tile.key_dim ? c + i : 0;  // columns past the last: anything
        quads.keys(d, 0, low);
        quads.keys(d, kLanes, high);
        COHORT_UNROLL for (int k = 0; k < 4; ++k) {
          words[i + k] = _mm512_maskz_mov_epi16(counts, bf16_line(low[k], high[k]));
        }
      }
      transpose_words(words);
      uint32_t* out = rooms.values_at(b, 0, c);
      COHORT_UNROLL for (int pair = 0; pair < kLanes; ++pair) {
        store_line(out + pair * kPairColumns, words[pair]);
      }
    }
  });
}

// ---- softmax, of a row tile at a time ----

// The greatest score of each row; those of slots it does not see become -infinity.
inline F32 greatest_scores(const AttentionTile& tile, int first_row, int rows, int32_t position,
                           int slots, float* scores) {
  F32 greatest[kPairRows];
  for (int i = 0; i < kPairRows; ++i, scores += kScoreStride) {
    greatest[i] = broadcast(kMinusInfinity);
    if (i >= rows) continue;
    hide_unseen(scores, seen_slots(tile, first_row + i, position, slots), slots);
    for (int t = 0; t < slots; t += kLanes) greatest[i] = max(greatest[i], load(scores + t));
  }
  return each_maximum(greatest);
}

// Weights of a row by its scores, in lines of kPairTileBytes from one block to the next; returns their sum by lanes.
inline F32 weigh_row(const float* scores, int slots, float shift, std::byte* weights) {
  const F32 log2e = broadcast(kLog2e), shifts = broadcast(shift);
  F32 sums = zero();
  for (int t = 0; t < slots; t += kKvBlockTokens, weights += kPairTileBytes) {
    const F32 low = rough_exp2(fma(load(scores + t), log2e, shifts));
    const F32 high = rough_exp2(fma(load(scores + t + kLanes), log2e, shifts));
    store_line(weights, bf16_line(low, high));
    sums = sums + (low + high);
  }
  return sums;
}

// Turns scores of a row tile into weights, and scales what its rows have so far.
inline void soften_row_tile(const AttentionTile& tile, int first_row, int32_t position, int slots,
                            float* scores, std::byte* weights) {
  const int left = tile.rows - first_row, rows = left < kPairRows ? left : kPairRows;
  const F32 before = load_part(tile.max + first_row, rows);
  const F32 now = max(before, greatest_scores(tile, first_row, rows, position, slots, scores));
  // A row that has seen nothing yet stays at -infinity, and gets weights of 0.
  const F32 least = broadcast(-1e30f);
  const F32 factor = exp(max(before, least) - max(now, least));
  float shifts[kPairRows], factors[kPairRows];
  store(shifts, max(now, least) * broadcast(-kLog2e));
  store(factors, factor);
  F32 sums[kPairRows];
  for (int i = 0; i < kPairRows; ++i) {
    sums[i] = zero();
    if (i >= rows) continue;
    sums[i] = weigh_row(scores + i * kScoreStride, slots, shifts[i], weights + i * kPairRowBytes);
  }
  const F32 sum = each_sum(sums);
  store_part(tile.sum + first_row, fma(load_part(tile.sum + first_row, rows), factor, sum), rows);
  store_part(tile.max + first_row, now, rows);
  for (int i = 0; i < rows; ++i) {
    float* out = tile.out + int64_t{first_row + i} * tile.value_dim;
    if (factors[i] != 1.0f) scale(out, factors[i], tile.value_dim);
  }
}

// ---- all of it ----

// Rows from first_row on, over packed blocks of which `end` slots count.
template <class Product>
void attend_rows(const AttentionTile& tile, int first_row, int count, int32_t position, int end,
                 const Bf16Rooms& rooms) {
  const int left = tile.rows - first_row, rows = left < kRowsAtOnce ? left : kRowsAtOnce;
  const int64_t units = units_of(tile.key_dim);
  PairProduct score = {.a = tile.bf16_queries + first_row / kPairRows * units * kPairTileBytes,
                       .a_tile_bytes = units * kPairTileBytes,
                       .b = rooms.keys,
                       .units = units,
                       .y = rooms.scores,
                       .stride = kScoreStride,
                       .rows = row_tiles(rows) * kPairRows,
                       .columns = kKvBlockTokens};
  for (int b = 0; b < count; ++b, score.b += units * kUnitWords, score.y += kKvBlockTokens) {
    Product::multiply(score);
  }
  for (int r = 0; r < rows; r += kPairRows) {
    soften_row_tile(tile, first_row + r, position, count * kKvBlockTokens,
                    rooms.scores + r * kScoreStride,
                    rooms.weights + r / kPairRows * Bf16Rooms::kWeightTileBytes);
  }
  PairProduct sum = {.a = rooms.weights,
                     .a_tile_bytes = Bf16Rooms::kWeightTileBytes,
                     .b = rooms.values,
                     .units = (end + kKvBlockTokens - 1) / kKvBlockTokens,
                     .add = true,
                     .y = tile.out + int64_t{first_row} * tile.value_dim,
                     .stride = tile.value_dim,
                     .rows = rows,
                     .columns = tile.value_dim};
  for (; sum.columns > 0; sum.columns -= kPairColumns) {
    Product::multiply(sum);
    sum.b += Bf16Rooms::kValueWords;
    sum.y += kPairColumns;
  }
}

template <class Product>
void attend_in_bf16(const AttentionTile& tile, const std::byte* const* blocks, int count,
                    int following, int32_t position) {
  const Stages stages(tile, blocks, count, following);
  const Bf16Rooms rooms(tile);
  for (int b = 0; b < count; ++b) {
    pack_keys(tile, blocks[b], rooms.keys + b * Bf16Rooms::key_words(tile),
              stages.after(b, pack_steps(tile.key_dim)));
  }
  const int end = end_of_slots(tile, position, count * kKvBlockTokens);
  for (int b = 0; b * kKvBlockTokens < end; ++b) {
    const int left = end - b * kKvBlockTokens;
    const int slots = left < kKvBlockTokens ? left : kKvBlockTokens;
    if (tile.value_in_key) {
      pack_values_of_keys(tile, blocks[b], b, slots, rooms);
    } else {
      pack_values(tile, values_of(tile, blocks[b]), b, slots, rooms,
                  stages.after(count + b, pack_steps(tile.value_dim)));
    }
  }
  Product::begin();
  for (int r = 0; r < tile.rows; r += kRowsAtOnce) {
    attend_rows<Product>(tile, r, count, position, end, rooms);
  }
  Product::end();
}

// Products of pairs by vector instructions.
struct VectorProduct {
  static void begin() {}
  static void end() {}
  static void multiply(const PairProduct& p) {
    for (int row = 0; row < 2 * kPairRows && row < p.rows; row += kRows) multiply_some(p, row);
  }

 private:
  static constexpr int kRows = 8;

  static void multiply_some(const PairProduct& p, int row) {
    const std::byte* a = p.a + row / kPairRows * p.a_tile_bytes + row % kPairRows * kLineBytes;
    const int64_t left = p.rows - row;
    F32 sums[kRows][2];
    COHORT_UNROLL for (int i = 0; i < kRows; ++i) {
      const float* y = p.y + (row + i) * p.stride;
      COHORT_UNROLL for (int v = 0; v < 2; ++v) {
        const bool add = p.add && i < left;
        sums[i][v] = add ? load_columns(y + v * kLanes, p.columns - v * kLanes) : zero();
      }
    }
    const uint32_t* b = p.b;
    for (int64_t unit = 0; unit < p.units; ++unit, a += kPairTileBytes) {
      for (int pair = 0; pair < kUnitBf16 / 2; ++pair, b += kPairColumns) {
        const auto low = Bf16Math::load_elements(b), high = Bf16Math::load_elements(b + kLanes);
        COHORT_UNROLL for (int i = 0; i < kRows; ++i) {
          const auto* row_pairs = reinterpret_cast<const uint32_t*>(a + i * kLineBytes);
          const auto both = Bf16Math::repeat(row_pairs + pair);
          sums[i][0] = Bf16Math::multiply_add(low, both, sums[i][0]);
          sums[i][1] = Bf16Math::multiply_add(high, both, sums[i][1]);
        }
      }
    }
    for (int i = 0; i < kRows && i < left; ++i) {
      float* y = p.y + (row + i) * p.stride;
      COHORT_UNROLL for (int v = 0; v < 2; ++v) {
        store_part(y + v * kLanes, sums[i][v], lanes_left(p.columns, v * kLanes));
      }
    }
  }
};

template <class Product>
void attend_maybe_in_bf16(const AttentionTile& tile, const std::byte* const* blocks, int count,
                          int following, int32_t position) {
  const auto way = tile.bf16_queries != nullptr ? attend_in_bf16<Product> : attend;
  way(tile, blocks, count, following, position);
}

template <class Product>
inline constexpr VectorKernels with_bf16_attention(VectorKernels kernels) {
  kernels.attention.attend = attend_maybe_in_bf16<Product>;
  kernels.attention.pack_bf16 = pack_bf16;
  return kernels;
}
