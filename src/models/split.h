// How the ranks of a tensor-parallel group share a layer: pure functions from fractions to ranges. Every rank computes
// the same ranges, so nothing needs to be said on the wire.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "models/model.h"

namespace cohort::models {

struct Range {
  int64_t first = 0;
  int64_t count = 0;

  int64_t end() const { return first + count; }
  bool operator==(const Range&) const = default;
};

// `units` indivisible things in proportion to `fractions` (positive, summing to 1): contiguous, in rank order, covering
// all. Nobody goes without while there are enough for all.
std::vector<Range> split(int64_t units, std::span<const double> fractions);

// The ranks' shares of `total` columns or rows that move in steps of `step` (which divides `total`), and this rank's.
// kInvalidArgument when there are fewer steps than ranks; `what` names the thing.
Result<std::vector<Range>> shares_of(const Shard& shard, int64_t total, int64_t step,
                                     std::string_view what);
Result<Range> share_of(const Shard& shard, int64_t total, int64_t step, std::string_view what);

// A step for what may be cut anywhere: a power of two up to `preferred` (one too, for the kernels' comfort) that divides
// `total` and leaves enough steps for all ranks if any does.
int64_t free_step(const Shard& shard, int64_t total, int64_t preferred);

// Columns that move together where a matrix of `columns` inputs is cut: its quantisation group, or a free step when it is
// plain (group_size 0).
int64_t column_step(const Shard& shard, int64_t columns, int64_t group_size);

struct HeadSplit {
  int64_t heads = 0;
  int64_t kv_heads = 0;    // divides heads
  int64_t value_dim = 0;   // columns of the output projection's input that a head fills
  int64_t group_size = 0;  // quantisation group of those columns; 0: plain
};

// Query heads of a rank and the KV heads they read. Whole KV heads with all of their query heads while there are enough
// for all ranks; beyond that KV heads are replicated. Query head q of the share reads KV head
// kv[q * kv.size() / query.count]; where a share is ragged, a KV head stands in the list more than once to keep that so.
struct HeadShare {
  Range query;
  std::vector<int64_t> kv;
};
Result<HeadShare> share_of_heads(const Shard& shard, const HeadSplit& heads);

// kInvalidArgument names what is wrong with fractions, rank or layers.
Result<void> check_shard(const Shard& shard, int32_t layers);

}  // namespace cohort::models
