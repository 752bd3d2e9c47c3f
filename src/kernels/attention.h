// Attention over KV blocks, and the bytes of a block: the keys or the values of kKvBlockTokens positions of one KV head.
//
//   keys     [dim][kKvBlockTokens] elements: a dim of all positions lies together, so that scores of many positions
//            come from one vector of keys times one value of the query
//   values   [kKvBlockTokens][dim] elements
//   kQ8      int8 codes in those orders, then bf16 scales, one for each position and each kKvQuantGroup dims:
//            keys [groups][kKvBlockTokens], values [kKvBlockTokens][groups]
#pragma once

#include <cstddef>
#include <cstdint>

namespace cohort::kernels {

enum class KvFormat : uint8_t { kF32, kF16, kBF16, kQ8 };

inline constexpr int kKvBlockTokens = 32;
inline constexpr int kKvQuantGroup = 32;

constexpr int kv_quant_groups(int dim) { return (dim + kKvQuantGroup - 1) / kKvQuantGroup; }
constexpr size_t kv_codes_bytes(KvFormat format, int dim) {
  const size_t element = format == KvFormat::kF32 ? 4 : format == KvFormat::kQ8 ? 1 : 2;
  return kKvBlockTokens * element * static_cast<size_t>(dim);
}
constexpr size_t kv_block_bytes(KvFormat format, int dim) {  // a multiple of 64
  const size_t scales =
      format == KvFormat::kQ8 ? size_t{2} * kKvBlockTokens * kv_quant_groups(dim) : 0;
  return (kv_codes_bytes(format, dim) + scales + 63) / 64 * 64;
}

inline constexpr int kMaxAttentionRows = 64;
inline constexpr int kAttentionBlocks = 4;  // taken into a softmax at once

// Query rows that share one KV head, and their online softmax. Each row sees the positions [first[r], last[r]].
struct AttentionTile {
  KvFormat format = KvFormat::kF32;
  int rows = 0;  // 1..kMaxAttentionRows
  int key_dim = 0;
  int value_dim = 0;
  bool value_in_key = false;       // the value is the first value_dim dims of the key
  const float* queries = nullptr;  // [rows][key_dim], already scaled
  const int32_t* first = nullptr;
  const int32_t* last = nullptr;
  float* max = nullptr;      // [rows] greatest score so far; starts at -infinity
  float* sum = nullptr;      // [rows] of exp(score - max); starts at 0
  float* out = nullptr;      // [rows][value_dim] sum of exp(score - max) * value; starts at 0
  float* scratch = nullptr;  // attention_scratch_floats(...)
};
constexpr size_t attention_scratch_floats(int key_dim, int value_dim) {
  return static_cast<size_t>(kKvBlockTokens) *
         (key_dim + value_dim + kMaxAttentionRows * kAttentionBlocks);
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
};

}  // namespace cohort::kernels
