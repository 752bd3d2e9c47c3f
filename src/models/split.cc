#include "models/split.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace cohort::models {
namespace {

constexpr int64_t kPlainColumnStep = 32;
constexpr double kFractionTolerance = 1e-6;

// KV heads that the query heads of `query` read, each as often as makes all runs of equal length.
std::vector<int64_t> kv_heads_of(Range query, int64_t heads_per_kv) {
  int64_t run = 0;  // query heads a listed KV head serves
  for (int64_t q = query.first; q < query.end();) {
    const int64_t next = std::min(query.end(), (q / heads_per_kv + 1) * heads_per_kv);
    run = std::gcd(run, next - q);
    q = next;
  }
  std::vector<int64_t> kv;
  for (int64_t q = query.first; q < query.end(); q += run) kv.push_back(q / heads_per_kv);
  return kv;
}

}  // namespace

std::vector<Range> split(int64_t units, std::span<const double> fractions) {
  const auto ranks = static_cast<int64_t>(fractions.size());
  std::vector<int64_t> bounds = {0};
  double sum = 0;
  for (const double fraction : fractions) {
    sum += fraction;
    bounds.push_back(std::clamp<int64_t>(std::llround(static_cast<double>(units) * sum), 0, units));
  }
  bounds.back() = units;
  if (units >= ranks) {
    for (int64_t i = 1; i < ranks; ++i) bounds[i] = std::max(bounds[i], bounds[i - 1] + 1);
    for (int64_t i = ranks - 1; i > 0; --i) bounds[i] = std::min(bounds[i], bounds[i + 1] - 1);
  }
  std::vector<Range> ranges;
  for (int64_t i = 0; i < ranks; ++i) ranges.push_back({bounds[i], bounds[i + 1] - bounds[i]});
  return ranges;
}

Result<std::vector<Range>> shares_of(const Shard& shard, int64_t total, int64_t step,
                                     std::string_view what) {
  COHORT_CHECK(total % step == 0);
  const int64_t units = total / step;
  if (units < shard.size()) {
    return fail(Code::kInvalidArgument, "{} {} move in steps of {}: too few for {} ranks", total,
                what, step, shard.size());
  }
  std::vector<Range> shares = split(units, shard.fractions);
  for (Range& share : shares) share = {share.first * step, share.count * step};
  return shares;
}

Result<Range> share_of(const Shard& shard, int64_t total, int64_t step, std::string_view what) {
  COHORT_TRY(const std::vector<Range> shares, shares_of(shard, total, step, what));
  return shares[static_cast<size_t>(shard.rank)];
}

int64_t free_step(const Shard& shard, int64_t total, int64_t preferred) {
  int64_t step = std::gcd(total, preferred);
  while (step > 1 && total / step < shard.size()) step /= 2;
  return step;
}

int64_t column_step(const Shard& shard, int64_t columns, int64_t group_size) {
  return group_size > 0 ? group_size : free_step(shard, columns, kPlainColumnStep);
}

Result<HeadShare> share_of_heads(const Shard& shard, const HeadSplit& heads) {
  COHORT_CHECK(heads.kv_heads > 0 && heads.heads % heads.kv_heads == 0);
  const int64_t heads_per_kv = heads.heads / heads.kv_heads;
  const int64_t group = std::max<int64_t>(heads.group_size, 1);
  const int64_t step = group / std::gcd(group, heads.value_dim);  // heads that fill whole groups
  const int64_t whole = std::lcm(step, heads_per_kv);             // and take whole KV heads along
  const bool replicate = heads.heads / whole < shard.size();
  COHORT_TRY(const Range query,
             share_of(shard, heads.heads, replicate ? step : whole, "attention heads"));
  return HeadShare{query, kv_heads_of(query, heads_per_kv)};
}

Result<void> check_shard(const Shard& shard, int32_t layers) {
  double sum = 0;
  for (const double fraction : shard.fractions) {
    if (!(fraction > 0)) {
      return fail(Code::kInvalidArgument, "a rank's fraction is {}, which is not above 0",
                  fraction);
    }
    sum += fraction;
  }
  if (std::abs(sum - 1) > kFractionTolerance) {
    return fail(Code::kInvalidArgument, "the ranks' fractions sum to {}, not to 1", sum);
  }
  if (shard.rank < 0 || shard.rank >= shard.size()) {
    return fail(Code::kInvalidArgument, "rank {} is not one of {}", shard.rank, shard.size());
  }
  const int32_t last = shard.last_layer < 0 ? layers : shard.last_layer;
  if (shard.first_layer < 0 || shard.first_layer >= last || last > layers) {
    return fail(Code::kInvalidArgument, "layers {} to {} are no part of {} layers",
                shard.first_layer, last, layers);
  }
  return {};
}

}  // namespace cohort::models
