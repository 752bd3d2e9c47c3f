// Attention over KV blocks, and the bytes of a block: the keys or the values of kKvBlockTokens positions of one KV head.
//
//   keys     [dim][kKvBlockTokens] elements: a dim of all positions lies together, so that scores of many positions
//            come from one vector of keys times one value of the query
//   values   [kKvBlockTokens][dim] elements
//   kQ8      codes, then bf16 scales. A code is a byte, kKvCodeOffset more than what the scale is multiplied with, and lies
//            as integer dot products take it: keys [dim / 4, rounded up][kKvBlockTokens][4],
//            values [kKvBlockTokens / 4][dim][4]. Keys have a scale for each position and each kKvQuantGroup dims,
//            [groups][kKvBlockTokens]: a few of their dims are far greater than the others. Values have one a position.
#pragma once

#include <cstddef>
#include <cstdint>

namespace cohort::kernels {

struct QuantizedGroup;

enum class KvFormat : uint8_t { kF32, kF16, kBF16, kQ8 };

inline constexpr int kKvBlockTokens = 32;
inline constexpr int kKvQuantGroup = 32;
inline constexpr int kKvCodeOffset = 128;

// Where the codes of a kQ8 block are.
constexpr int64_t q8_key_at(int d, int slot) {
  return (int64_t{d / 4} * kKvBlockTokens + slot) * 4 + d % 4;
}
constexpr int64_t q8_value_at(int slot, int column, int dim) {
  return (int64_t{slot / 4} * dim + column) * 4 + slot % 4;
}

constexpr int kv_quant_groups(int dim) { return (dim + kKvQuantGroup - 1) / kKvQuantGroup; }
constexpr size_t kv_codes_bytes(KvFormat format, int dim) {
  const auto elements = static_cast<size_t>(dim) * kKvBlockTokens;
  if (format == KvFormat::kQ8)
    return (elements + 3 * kKvBlockTokens) / (4 * kKvBlockTokens) * (4 * kKvBlockTokens);
  return elements * (format == KvFormat::kF32 ? 4 : 2);
}
// A block of keys, a block of values: multiples of 64.
constexpr size_t kv_bytes(KvFormat format, int dim, int scales_a_position) {
  const int scales = format == KvFormat::kQ8 ? scales_a_position * kKvBlockTokens : 0;
  return (kv_codes_bytes(format, dim) + static_cast<size_t>(scales) * 2 + 63) / 64 * 64;
}
constexpr size_t kv_key_bytes(KvFormat format, int dim) {
  return kv_bytes(format, dim, kv_quant_groups(dim));
}
constexpr size_t kv_value_bytes(KvFormat format, int dim) { return kv_bytes(format, dim, 1); }

inline constexpr int kMaxAttentionRows = 64;
inline constexpr int kMaxAttentionRowsBf16 =
    256;  // packing a block costs as much as its products with 64 rows or so
inline constexpr int kAttentionBlocks = 4;  // taken into a softmax at once

// Query rows that share one KV head, and their online softmax. Each row sees the positions [first[r], last[r]].
struct AttentionTile {
  KvFormat format = KvFormat::kF32;
  int rows = 0;  // 1..kMaxAttentionRows; in bf16 up to kMaxAttentionRowsBf16
  int key_dim = 0;
  int value_dim = 0;
  bool value_in_key = false;       // the value is the first value_dim dims of the key
  const float* queries = nullptr;  // [rows][key_dim], already scaled
  // [rows][kv_quant_groups(key_dim)], the queries in 8 bits, or null. Of kQ8 blocks with values of their own only: scores
  // and sums are then integer dot products, of weights that are rounded to 8 bits as well.
  const QuantizedGroup* quantized_queries = nullptr;
  // What pack_bf16 made of them, or null. Scores and sums are then products of bf16, for which keys, values and softmax
  // weights are rounded to it.
  const std::byte* bf16_queries = nullptr;
  const int32_t* first = nullptr;
  const int32_t* last = nullptr;
  float* max = nullptr;      // [rows] greatest score so far; starts at -infinity
  float* sum = nullptr;      // [rows] of exp(score - max); starts at 0
  float* out = nullptr;      // [rows][value_dim] sum of exp(score - max) * value; starts at 0
  float* scratch = nullptr;  // attention_scratch_floats(...)
};
constexpr size_t attention_scratch_floats(int key_dim, int value_dim) {
  constexpr int kLine = 16, kEven = 31;
  const int scores = kMaxAttentionRows * kAttentionBlocks;
  const int floats = key_dim + value_dim;
  const int bf16 = kAttentionBlocks * (floats + 2 * kEven) / 2;  // of all blocks, to whole units
  return kLine + static_cast<size_t>(kKvBlockTokens) * (scores + (bf16 > floats ? bf16 : floats));
}
// Room for the queries in bf16.
constexpr size_t bf16_query_bytes(int rows, int key_dim) {
  constexpr int kRows = 16, kColumns = 32;
  return static_cast<size_t>((rows + kRows - 1) / kRows) * ((key_dim + kColumns - 1) / kColumns) *
         (kRows * kColumns * 2);
}

struct AttentionKernels {
  void (*store_key)(KvFormat format, std::byte* block, int slot, const float* key, int dim);
  void (*store_value)(KvFormat format, std::byte* block, int slot, const float* value, int dim);
  // Takes blocks[0 .. count) (1..kAttentionBlocks) into the tile's softmax: blocks of keys, each with its block of values
  // right behind unless value_in_key. blocks[count .. count + following) will be asked for next, and are fetched ahead.
  // `position` is that of the first slot, a multiple of kKvBlockTokens * kAttentionBlocks unless no row sees the slots
  // left out. What a row gets depends neither on the tile's other rows nor on slots it does not see.
  void (*attend)(const AttentionTile& tile, const std::byte* const* blocks, int count,
                 int following, int32_t position);
  // A tile's queries in bf16, to bf16_query_bytes(rows, key_dim) on a line of 64. Null where bf16 is not multiplied faster
  // than floats.
  void (*pack_bf16)(const float* queries, int rows, int key_dim, std::byte* out);
};

}  // namespace cohort::kernels
