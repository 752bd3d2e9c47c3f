// The paged KV cache as MLX arrays that steps update in place, and attention over it.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "backend/cpu/memory.h"
#include "backend/mlx/core.h"

namespace cohort::backend::mlx_parts {

// Rows [slots, ..] of one kind (keys or values) of a layer: [kv_heads, slots, dim], where page p has the slots from
// p * kPageTokens on. Neighbouring pages are thus one view.
//
// Nobody else may hold `codes` when a step is evaluated: MLX updates an array in place only if the graph has it alone.
struct CacheRows {
  mx::array codes;
  std::optional<mx::array> scales;  // kQ8: of blocks of kQ8Block columns; codes are then int8
  int dim = 0;
};
inline constexpr int kQ8Block = 32;

// Sequences of one new row each that attend in one call: copies of their pages side by side, what is not theirs masked.
struct Together {
  int sequences = 0, pages = 0;  // of each, as many as the longest has
  mx::array page_ids;            // [sequences * pages]
  mx::array positions;           // of the new rows: [sequences, 1, 1, 1]
};

// Where a step's rows go, and what its sequences see. Made once a step.
struct StepSlots {
  explicit StepSlots(const StepPlan& plan);

  const StepPlan* plan = nullptr;
  int first = 0;  // slot of the first row
  int rows = 0;
  bool in_a_row = true;            // the rows' slots follow each other
  std::optional<mx::array> slots;  // else: all of them
  std::optional<Together> together;
};

struct AttentionInput {
  mx::array q, k;
  std::optional<mx::array> v;      // none: values are in the keys
  std::optional<mx::array> sinks;  // [heads]
};

class KvCache {
 public:
  // `activations`: what 16-bit values are kept in unless it is float32. Errors: the budget's, or MLX's.
  static Result<KvCache> create(const KvSpec& spec, int32_t pages, mx::Dtype activations,
                                MemoryBudget& budget);

  uint64_t size_bytes() const { return size_bytes_; }
  const KvLayerSpec& spec(int layer) const { return layers_[layer].spec; }
  void copy_page(int32_t from, int32_t to);

  // Appends k and v of the step's rows, then attends.
  mx::array attend(const StepSlots& step, const AttentionInput& input, const AttentionSpec& spec);

  // What must be evaluated for the cache to hold what was appended.
  void append_to(std::vector<mx::array>& outputs) const;

 private:
  struct Layer {
    KvLayerSpec spec;
    CacheRows keys;
    std::optional<CacheRows> values;
  };
  static mx::array attend_together(const Layer& layer, const Together& together,
                                   const AttentionInput& input, const AttentionSpec& spec);
  static mx::array attend_alone(const Layer& layer, const SequenceRun& run,
                                const AttentionInput& input, const AttentionSpec& spec);
  template <class Visit>
  void for_each_array(Visit&& visit);

  std::vector<Layer> layers_;
  uint64_t size_bytes_ = 0;
};

}  // namespace cohort::backend::mlx_parts
