#include "backend/mlx/kv_cache.h"

#include <algorithm>

#include "base/bytes.h"
#include "base/check.h"

namespace cohort::backend::mlx_parts {
namespace {

constexpr float kQ8Most = 127.0f;

// Positions, of all sequences and padded, that are copied so that sequences attend in one call. It saves a dozen small ops a
// sequence and layer; beyond, views of the cache and a call each move less.
constexpr int kMostGathered = 2048;

mx::Dtype stored_type(KvType type, mx::Dtype activations) {
  switch (type) {
    case KvType::kF32: return mx::float32;
    case KvType::kF16: return activations == mx::float32 ? mx::float16 : activations;
    case KvType::kBF16: return activations == mx::float32 ? mx::bfloat16 : activations;
    case KvType::kQ8: return mx::int8;
  }
  COHORT_CHECK(false);
}

CacheRows make_rows(const KvLayerSpec& layer, int dim, int slots, mx::Dtype type) {
  const bool q8 = type == mx::int8;
  const int blocks = divide_up(dim, kQ8Block);
  CacheRows rows{.codes = mx::zeros({layer.kv_heads, slots, q8 ? blocks * kQ8Block : dim}, type),
                 .dim = dim};
  if (q8) rows.scales = mx::zeros({layer.kv_heads, slots, blocks}, mx::float16);
  return rows;
}

uint64_t size_of(const CacheRows& rows) {
  return rows.codes.nbytes() + (rows.scales ? rows.scales->nbytes() : 0);
}

// ---- writing ----

// cache[:, slots of the step] = rows [rows, kv_heads, n]
void put(mx::array& cache, const StepSlots& step, const mx::array& rows) {
  if (step.in_a_row) {
    cache = mx::slice_update(cache, mx::swapaxes(rows, 0, 1), mx::Shape{0, step.first, 0},
                             mx::Shape{cache.shape(0), step.first + step.rows, cache.shape(2)});
    return;
  }
  cache = mx::scatter(cache, *step.slots, mx::astype(mx::expand_dims(rows, 2), cache.dtype()), 1);
}

void append(CacheRows& cache, const StepSlots& step, const mx::array& x) {
  const int heads = cache.codes.shape(0), padded = cache.codes.shape(2);
  mx::array rows = mx::reshape(x, {step.rows, heads, cache.dim});
  if (!cache.scales) return put(cache.codes, step, rows);
  if (padded > cache.dim) rows = mx::pad(rows, {{0, 0}, {0, 0}, {0, padded - cache.dim}});
  const mx::array blocks =
      mx::reshape(mx::astype(rows, mx::float32), {step.rows, heads, -1, kQ8Block});
  const mx::array scales = mx::astype(
      mx::divide(mx::max(mx::abs(blocks), -1, /*keepdims=*/true), mx::array(kQ8Most)), mx::float16);
  // A block of zeros has codes of 0, whatever it is divided by.
  const mx::array divisor = mx::maximum(mx::astype(scales, mx::float32), mx::array(1e-12f));
  const mx::array codes =
      mx::clip(mx::round(mx::divide(blocks, divisor)), mx::array(-kQ8Most), mx::array(kQ8Most));
  put(cache.codes, step, mx::reshape(mx::astype(codes, mx::int8), {step.rows, heads, padded}));
  put(*cache.scales, step, mx::squeeze(scales, -1));
}

// ---- reading ----

// Positions [first, end) of a sequence: [heads, end - first, n].
mx::array seen(const mx::array& cache, const SequenceRun& run, int first, int end) {
  std::vector<mx::array> stretches;
  for (int p = first; p < end;) {
    const int page = run.pages[p / kPageTokens];
    const int start = page * kPageTokens + p % kPageTokens;
    int next = (p / kPageTokens + 1) * kPageTokens;
    while (next < end &&
           run.pages[next / kPageTokens] == page + (next - p + p % kPageTokens) / kPageTokens)
      next += kPageTokens;
    next = std::min(next, end);
    stretches.push_back(
        mx::slice(cache, {0, start, 0}, {cache.shape(0), start + next - p, cache.shape(2)}));
    p = next;
  }
  return stretches.size() == 1 ? stretches[0] : mx::concatenate(std::move(stretches), 1);
}

mx::array first_columns(const mx::array& x, int count) {
  if (count == x.shape(-1)) return x;
  mx::Shape end = x.shape();
  end.back() = count;
  return mx::slice(x, mx::Shape(x.ndim(), 0), end);
}

// What `take` takes of the cache, as numbers: [.., dim].
template <class Take>
mx::array numbers(const CacheRows& cache, mx::Dtype type, Take&& take) {
  const mx::array codes = mx::astype(take(cache.codes), type);
  if (!cache.scales) return codes;
  const mx::array scales = mx::expand_dims(mx::astype(take(*cache.scales), type), -1);
  mx::Shape blocks = codes.shape();
  blocks.back() /= kQ8Block;
  blocks.push_back(kQ8Block);
  const mx::array wide = mx::multiply(mx::reshape(codes, blocks), scales);
  return first_columns(mx::reshape(wide, codes.shape()), cache.dim);
}

// The pages of all sequences: [sequences, heads, positions, n].
mx::array gathered(const mx::array& cache, const Together& together) {
  const int heads = cache.shape(0), n = cache.shape(2);
  const mx::array pages = mx::reshape(cache, {heads, cache.shape(1) / kPageTokens, kPageTokens, n});
  const mx::array taken = mx::take(pages, together.page_ids, 1);
  return mx::swapaxes(
      mx::reshape(taken, {heads, together.sequences, together.pages * kPageTokens, n}), 0, 1);
}

std::optional<Together> decoding_together(const StepPlan& plan) {
  const auto sequences = static_cast<int>(plan.runs.size());
  int pages = 0;
  for (const SequenceRun& run : plan.runs) {
    if (run.rows != 1) return std::nullopt;
    pages = std::max(pages, run.first_position / kPageTokens + 1);
  }
  if (sequences < 2 || pages > kMostGathered / kPageTokens / sequences) return std::nullopt;
  std::vector<int32_t> ids, positions;
  for (const SequenceRun& run : plan.runs) {
    const int own = run.first_position / kPageTokens + 1;
    for (int i = 0; i < pages; ++i) ids.push_back(run.pages[i < own ? i : 0]);
    positions.push_back(run.first_position);
  }
  return Together{sequences, pages, mx::array(ids.data(), {sequences * pages}, mx::int32),
                  mx::array(positions.data(), {sequences, 1, 1, 1}, mx::int32)};
}

struct Mask {
  std::string mode;
  std::optional<mx::array> seen;
};

// Of the positions [first_position, first_position + rows), over keys from `first_key` on.
Mask make_mask(const SequenceRun& run, int window, int first_key) {
  if (run.rows == 1) return {};  // what it must not see is not there
  const int last = run.first_position + run.rows - 1;
  if (window == 0 || last - first_key < window) return {.mode = "causal"};
  const mx::array own = mx::expand_dims(mx::arange(run.first_position, last + 1, mx::int32), 1);
  const mx::array key = mx::expand_dims(mx::arange(first_key, last + 1, mx::int32), 0);
  return {.mode = "array",
          .seen = mx::logical_and(mx::less_equal(key, own),
                                  mx::greater(key, mx::subtract(own, mx::array(window))))};
}

// What each new row sees: [sequences, 1, 1, positions].
mx::array seen_together(const Together& together, int window) {
  const mx::array key = mx::arange(0, together.pages * kPageTokens, mx::int32);
  const mx::array past = mx::less_equal(key, together.positions);
  if (window == 0) return past;
  return mx::logical_and(past,
                         mx::greater(key, mx::subtract(together.positions, mx::array(window))));
}

// [rows, heads * dim] of the run -> [1, heads, rows, dim]
mx::array heads_of(const mx::array& x, const SequenceRun& run, int heads) {
  const mx::array rows = mx::slice(x, {run.first_row, 0}, {run.first_row + run.rows, x.shape(1)});
  return mx::swapaxes(mx::reshape(rows, {1, run.rows, heads, -1}), 1, 2);
}

}  // namespace

StepSlots::StepSlots(const StepPlan& step) : plan(&step) {
  std::vector<int32_t> all;
  for (const SequenceRun& run : step.runs) {
    for (int32_t p = run.first_position; p < run.first_position + run.rows; ++p) {
      COHORT_CHECK(static_cast<size_t>(p / kPageTokens) < run.pages.size());
      all.push_back(run.pages[p / kPageTokens] * kPageTokens + p % kPageTokens);
      in_a_row = in_a_row && all.back() == all.front() + static_cast<int32_t>(all.size()) - 1;
    }
  }
  rows = static_cast<int>(all.size());
  if (rows > 0) first = all[0];
  if (!in_a_row) slots = mx::array(all.data(), {rows}, mx::int32);
  together = decoding_together(step);
}

Result<KvCache> KvCache::create(const KvSpec& spec, int32_t pages, mx::Dtype activations,
                                MemoryBudget& budget) {
  const auto wanted = checked_multiply<uint64_t>(kv_page_bytes(spec), static_cast<uint64_t>(pages));
  const bool too_many = pages > std::numeric_limits<int32_t>::max() / kPageTokens;
  if (!wanted)
    return fail(Code::kUnavailable, "a KV cache of {} pages exceeds the address space", pages);
  COHORT_TRY_VOID(budget.reserve("the KV cache", *wanted));
  if (too_many) return fail(Code::kUnavailable, "MLX cannot index a KV cache of {} pages", pages);
  const mx::Dtype type = stored_type(spec.type, activations);
  return caught([&] {
    KvCache cache;
    for (const KvLayerSpec& layer : spec.layers) {
      const int slots = pages * kPageTokens;
      Layer made{.spec = layer, .keys = make_rows(layer, layer.key_dim, slots, type)};
      if (layer.value_dim > 0) made.values = make_rows(layer, layer.value_dim, slots, type);
      cache.size_bytes_ += size_of(made.keys) + (made.values ? size_of(*made.values) : 0);
      cache.layers_.push_back(std::move(made));
    }
    std::vector<mx::array> arrays;
    cache.append_to(arrays);
    mx::eval(std::move(arrays));
    return cache;
  });
}

template <class Visit>
void KvCache::for_each_array(Visit&& visit) {
  for (Layer& layer : layers_) {
    for (CacheRows* rows : {&layer.keys, layer.values ? &*layer.values : nullptr}) {
      if (rows == nullptr) continue;
      visit(rows->codes);
      if (rows->scales) visit(*rows->scales);
    }
  }
}

void KvCache::append_to(std::vector<mx::array>& outputs) const {
  const_cast<KvCache*>(this)->for_each_array([&](mx::array& x) { outputs.push_back(x); });
}

void KvCache::copy_page(int32_t from, int32_t to) {
  for_each_array([&](mx::array& cache) {
    const auto start = [](int32_t page) { return page * kPageTokens; };
    const int heads = cache.shape(0), columns = cache.shape(2);
    // Of its own: a view of the cache inside the graph would make the update copy all of it.
    const mx::array page =
        own_copy(mx::slice(cache, {0, start(from), 0}, {heads, start(from + 1), columns}));
    cache = mx::slice_update(cache, page, mx::Shape{0, start(to), 0},
                             mx::Shape{heads, start(to + 1), columns});
  });
}

mx::array KvCache::attend(const StepSlots& step, const AttentionInput& input,
                          const AttentionSpec& spec) {
  Layer& layer = layers_[spec.layer];
  append(layer.keys, step, input.k);
  if (layer.values) append(*layer.values, step, *input.v);
  if (step.together) return attend_together(layer, *step.together, input, spec);
  std::vector<mx::array> outputs;
  for (const SequenceRun& run : step.plan->runs)
    outputs.push_back(attend_alone(layer, run, input, spec));
  return outputs.size() == 1 ? outputs[0] : mx::concatenate(std::move(outputs), 0);
}

mx::array KvCache::attend_together(const Layer& layer, const Together& together,
                                   const AttentionInput& input, const AttentionSpec& spec) {
  const mx::Dtype type = input.q.dtype();
  const auto take = [&](const mx::array& cache) { return gathered(cache, together); };
  const mx::array keys = numbers(layer.keys, type, take);
  const mx::array values = layer.values ? numbers(*layer.values, type, take)
                                        : first_columns(keys, layer.spec.value_prefix);
  const mx::array q = mx::reshape(input.q, {together.sequences, spec.heads, 1, -1});
  const mx::array made = mx::fast::scaled_dot_product_attention(
      q, keys, values, spec.scale, "array", seen_together(together, spec.window), input.sinks);
  return mx::reshape(made, {together.sequences, -1});
}

mx::array KvCache::attend_alone(const Layer& layer, const SequenceRun& run,
                                const AttentionInput& input, const AttentionSpec& spec) {
  const mx::Dtype type = input.q.dtype();
  const int end = run.first_position + run.rows;
  const int first = spec.window > 0 ? std::max(0, run.first_position - spec.window + 1) : 0;
  const auto take = [&](const mx::array& cache) { return seen(cache, run, first, end); };
  const mx::array keys = numbers(layer.keys, type, take);
  const mx::array values = layer.values ? numbers(*layer.values, type, take)
                                        : first_columns(keys, layer.spec.value_prefix);
  const Mask mask = make_mask(run, spec.window, first);
  const mx::array made = mx::fast::scaled_dot_product_attention(
      heads_of(input.q, run, spec.heads), mx::expand_dims(keys, 0), mx::expand_dims(values, 0),
      spec.scale, mask.mode, mask.seen, input.sinks);
  return mx::reshape(mx::swapaxes(made, 1, 2), {run.rows, -1});
}

}  // namespace cohort::backend::mlx_parts
