#include "engine/sampler.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "base/bytes.h"
#include "engine/random.h"

namespace cohort::engine {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kGreedyBelow = 1e-5f;  // temperatures that leave no choice in float
constexpr int kBlock = 64;             // logits whose weights are summed together
constexpr int32_t kMaxTopLogprobs = 20;

// Four floats at a time, which every target has.
using Floats = float __attribute__((vector_size(16)));
using Ints = int32_t __attribute__((vector_size(16)));
constexpr int kLanes = 4;

Floats splat(float value) { return Floats{} + value; }

// The largest of the values, NaNs apart; -infinity when there is none.
float max_of(std::span<const float> values) {
  Floats best[kBlock / kLanes];
  std::fill(std::begin(best), std::end(best), splat(-kInfinity));
  size_t i = 0;
  for (; i + kBlock <= values.size(); i += kBlock) {
    for (int j = 0; j < kBlock / kLanes; ++j) {
      const auto x = load<Floats>(values.data() + i + j * kLanes);
      best[j] = x > best[j] ? x : best[j];
    }
  }
  float max = -kInfinity;
  for (const Floats& lanes : best) {
    for (int lane = 0; lane < kLanes; ++lane) max = std::max(max, lanes[lane]);
  }
  for (; i < values.size(); ++i) max = values[i] > max ? values[i] : max;
  return max;
}

// e^x for x <= 0, to about 2e-7 relative; 0 below -87 and for NaN.
Floats exp_lanes(Floats x) {
  const Floats round =
      splat(12582912.0f);  // 1.5 * 2^23: adding it leaves the integer part in the low bits
  const Floats lowest = splat(-87.0f);
  const Floats clamped = x >= lowest ? x : lowest;
  const Floats shifted = clamped * 1.44269504f + round;
  const Floats whole = shifted - round;
  const Floats r = (clamped - whole * 0.693359375f) + whole * 2.12194440e-4f;  // ln 2 in two parts
  Floats p = splat(1.9875691e-4f);
  p = p * r + 1.3981999e-3f;
  p = p * r + 8.3334519e-3f;
  p = p * r + 4.1665796e-2f;
  p = p * r + 1.6666665e-1f;
  p = p * r + 5.0000001e-1f;
  p = p * r * r + r + 1.0f;
  const Ints exponent = std::bit_cast<Ints>(shifted) - std::bit_cast<Ints>(round);
  const Floats power = std::bit_cast<Floats>((exponent + 127) << 23);
  return x >= lowest ? p * power : Floats{};
}

// out = exp((logits - max) * factor) over a block; returns the sum.
double exp_block(const float* logits, float max, float factor, float* out) {
  Floats sum{};
  for (int j = 0; j < kBlock; j += kLanes) {
    const Floats weights = exp_lanes((load<Floats>(logits + j) - max) * factor);
    store(out + j, weights);
    sum += weights;
  }
  return double{sum[0]} + sum[1] + sum[2] + sum[3];
}

bool truncates(const Sampling& sampling) {
  return sampling.top_k > 0 || sampling.top_p < 1 || sampling.min_p > 0 || sampling.typical_p < 1;
}

Result<void> check_range(std::string_view name, float value, float low, bool low_allowed,
                         float high) {
  const bool fits = (low_allowed ? value >= low : value > low) && value <= high;
  if (fits) return {};
  return fail(Code::kInvalidArgument, "{} is {}; it must be {} {} and at most {}", name, value,
              low_allowed ? "at least" : "above", low, high);
}

}  // namespace

Result<void> validate(const Sampling& s, int32_t vocab_size) {
  constexpr float kHuge = 1e6f;
  COHORT_TRY_VOID(check_range("temperature", s.temperature, 0, true, 100));
  COHORT_TRY_VOID(check_range("top_p", s.top_p, 0, false, 1));
  COHORT_TRY_VOID(check_range("min_p", s.min_p, 0, true, 1));
  COHORT_TRY_VOID(check_range("typical_p", s.typical_p, 0, false, 1));
  COHORT_TRY_VOID(check_range("repetition_penalty", s.repetition_penalty, 0, false, kHuge));
  COHORT_TRY_VOID(check_range("presence_penalty", s.presence_penalty, -kHuge, true, kHuge));
  COHORT_TRY_VOID(check_range("frequency_penalty", s.frequency_penalty, -kHuge, true, kHuge));
  if (s.top_k < 0) {
    return fail(Code::kInvalidArgument, "top_k is {}; it must be at least 0 (0: all)", s.top_k);
  }
  if (s.min_tokens < 0) {
    return fail(Code::kInvalidArgument, "min_tokens is {}; it must be at least 0", s.min_tokens);
  }
  if (s.logprobs < -1 || s.logprobs > kMaxTopLogprobs) {
    return fail(Code::kInvalidArgument, "{} alternatives wanted in logprobs; at most {} are given",
                s.logprobs, kMaxTopLogprobs);
  }
  for (const auto& [id, bias] : s.logit_bias) {
    if (id < 0 || id >= vocab_size) {
      return fail(Code::kInvalidArgument, "logit_bias names token {}; the model has tokens 0 to {}",
                  id, vocab_size - 1);
    }
    COHORT_TRY_VOID(check_range("logit_bias", bias, -kHuge, true, kHuge));
  }
  return {};
}

bool SeenTokens::needed(const Sampling& sampling) {
  return sampling.repetition_penalty != 1 || sampling.presence_penalty != 0 ||
         sampling.frequency_penalty != 0;
}

bool Sampler::better(const Scored& a, const Scored& b) {
  return a.value > b.value || (a.value == b.value && a.id < b.id);
}

std::optional<text::TokenId> Sampler::sample(std::span<float> logits, const SampleInput& input) {
  penalise(logits, input);
  const auto chosen = choose(logits, input.sampling, random_unit(input.seed, input.position));
  restore(logits);
  return chosen;
}

void Sampler::set_logit(std::span<float> logits, text::TokenId id, float value) {
  replaced_.emplace_back(id, logits[id]);
  logits[id] = value;
}

void Sampler::penalise(std::span<float> logits, const SampleInput& input) {
  const Sampling& s = input.sampling;
  if (SeenTokens::needed(s)) {
    for (const auto& [id, count] : input.seen.output_counts()) {
      float value = logits[id];
      value = value > 0 ? value / s.repetition_penalty : value * s.repetition_penalty;
      value -= s.frequency_penalty * static_cast<float>(count);
      if (count > 0) value -= s.presence_penalty;
      set_logit(logits, id, value);
    }
  }
  for (const auto& [id, bias] : s.logit_bias) set_logit(logits, id, logits[id] + bias);
  for (const text::TokenId id : input.banned) set_logit(logits, id, -kInfinity);
}

void Sampler::restore(std::span<float> logits) {
  while (!replaced_.empty()) {
    const auto [id, value] = replaced_.back();
    logits[id] = value;
    replaced_.pop_back();
  }
}

std::optional<text::TokenId> Sampler::choose(std::span<const float> logits,
                                             const Sampling& sampling, double unit) {
  const float max = max_of(logits);
  if (!std::isfinite(max)) return std::nullopt;
  if (sampling.temperature < kGreedyBelow) {
    return static_cast<text::TokenId>(std::find(logits.begin(), logits.end(), max) -
                                      logits.begin());
  }
  if (!truncates(sampling)) {
    weigh_all(logits, max, sampling.temperature);
    return draw_from_all(unit);
  }
  gather_candidates(logits, max, sampling);
  if (sampling.top_p < 1) keep_top_p(sampling.top_p);
  if (sampling.min_p > 0) keep_min_p(sampling.min_p);
  if (sampling.typical_p < 1) keep_typical(sampling.typical_p);
  return draw_from_candidates(unit);
}

void Sampler::weigh_all(std::span<const float> logits, float max, float temperature) {
  const float factor = 1.0f / temperature;
  const size_t blocks = (logits.size() + kBlock - 1) / kBlock;
  weights_.resize(blocks * kBlock);
  block_sums_.resize(blocks);
  total_ = 0;
  for (size_t block = 0; block < blocks; ++block) {
    const size_t first = block * kBlock;
    float* out = weights_.data() + first;
    if (first + kBlock <= logits.size()) {
      block_sums_[block] = exp_block(logits.data() + first, max, factor, out);
    } else {
      float tail[kBlock];
      std::fill_n(tail, kBlock, -kInfinity);
      std::copy(logits.begin() + static_cast<ptrdiff_t>(first), logits.end(), tail);
      block_sums_[block] = exp_block(tail, max, factor, out);
    }
    total_ += block_sums_[block];
  }
}

text::TokenId Sampler::draw_from_all(double unit) const {
  double left = unit * total_;
  size_t first = 0;
  for (const double sum : block_sums_) {
    if (left < sum) break;
    left -= sum;
    first += kBlock;
  }
  for (size_t i = first; i < weights_.size(); ++i) {
    left -= weights_[i];
    if (left < 0) return static_cast<text::TokenId>(i);
  }
  size_t last = weights_.size();  // rounding left a rest: the last token that can be drawn at all
  while (weights_[--last] == 0) {
  }
  return static_cast<text::TokenId>(last);
}

text::TokenId Sampler::draw_from_candidates(double unit) const {
  double sum = 0;
  for (const Scored& item : candidates_) sum += item.value;
  double left = unit * sum;
  for (const Scored& item : candidates_) {
    left -= item.value;
    if (left < 0) return item.id;
  }
  return candidates_.back().id;
}

void Sampler::find_best(std::span<const float> logits, size_t count) {
  candidates_.clear();
  if (count == 0) return;
  // A heap of the best so far with the worst of them in front. Ids ascend, so an equal logit never replaces one.
  for (size_t i = 0; i < logits.size(); ++i) {
    const Scored item{logits[i], static_cast<text::TokenId>(i)};
    if (candidates_.size() == count) {
      if (!(item.value > candidates_.front().value)) continue;
      std::pop_heap(candidates_.begin(), candidates_.end(), better);
      candidates_.back() = item;
    } else if (item.value > -kInfinity) {
      candidates_.push_back(item);
    } else {
      continue;
    }
    std::push_heap(candidates_.begin(), candidates_.end(), better);
  }
  std::sort_heap(candidates_.begin(), candidates_.end(), better);
}

void Sampler::gather_candidates(std::span<const float> logits, float max,
                                const Sampling& sampling) {
  if (sampling.top_k > 0) {
    find_best(logits, static_cast<size_t>(sampling.top_k));
    const double factor = 1.0 / sampling.temperature;
    total_ = 0;
    for (Scored& item : candidates_) {
      item.value = static_cast<float>(std::exp((item.value - max) * factor));
      total_ += item.value;
    }
    return;
  }
  weigh_all(logits, max, sampling.temperature);
  // Tokens below this weight hold less than 1 - top_p together, so the nucleus ends before them; the largest weight is 1.
  const double outside = (1.0 - sampling.top_p) * total_ / static_cast<double>(logits.size());
  const double lowest = std::max<double>(outside, sampling.min_p);
  candidates_.clear();
  for (size_t i = 0; i < logits.size(); ++i) {
    if (weights_[i] > 0 && weights_[i] >= lowest) {
      candidates_.push_back({weights_[i], static_cast<text::TokenId>(i)});
    }
  }
}

// Keeps the candidates of the largest rank that hold `mass` together, at least one. `rank` gives floats above 0; their
// bits sort as they do, so buckets by the leading bits need one pass, and only that where the mass is reached is sorted.
template <class Rank>
void Sampler::keep_mass(double mass, Rank rank) {
  constexpr int kDroppedBits = 18;  // leaves 32 buckets for each power of two
  const auto bucket_of = [&](const Scored& item) {
    return std::bit_cast<uint32_t>(rank(item)) >> kDroppedBits;
  };
  bucket_mass_.assign(size_t{1} << (31 - kDroppedBits), 0);
  uint32_t bucket = 0;
  for (const Scored& item : candidates_) {
    bucket_mass_[bucket_of(item)] += item.value;
    bucket = std::max(bucket, bucket_of(item));
  }
  for (; bucket > 0 && mass > bucket_mass_[bucket]; --bucket) mass -= bucket_mass_[bucket];

  std::erase_if(candidates_, [&](const Scored& item) { return bucket_of(item) < bucket; });
  const auto edge = std::partition(candidates_.begin(), candidates_.end(),
                                   [&](const Scored& item) { return bucket_of(item) > bucket; });
  std::sort(edge, candidates_.end(), [&](const Scored& a, const Scored& b) {
    return rank(a) > rank(b) || (rank(a) == rank(b) && a.id < b.id);
  });
  auto end = edge;
  for (; end != candidates_.end() && mass > 0; ++end) mass -= end->value;
  candidates_.erase(end, candidates_.end());
}

// The most likely tokens.
void Sampler::keep_top_p(float top_p) {
  keep_mass(top_p * total_, [](const Scored& item) { return item.value; });
}

void Sampler::keep_min_p(float min_p) {
  const float largest =
      std::max_element(candidates_.begin(), candidates_.end(),
                       [](const Scored& a, const Scored& b) { return a.value < b.value; })
          ->value;
  std::erase_if(candidates_, [&](const Scored& item) { return item.value < min_p * largest; });
}

// The tokens whose surprise is nearest to the entropy: those whose weight is nearest, as a factor, to the mean weight
// (geometric, each token counted by its weight).
void Sampler::keep_typical(float typical_p) {
  double sum = 0, weighted_log = 0;
  for (const Scored& item : candidates_) {
    sum += item.value;
    weighted_log += item.value * std::log(item.value);
  }
  const auto mean = static_cast<float>(std::exp(weighted_log / sum));
  keep_mass(typical_p * sum,
            [mean](const Scored& item) { return std::min(item.value / mean, mean / item.value); });
}

SampledLogprobs Sampler::logprobs(std::span<const float> logits, text::TokenId chosen,
                                  int32_t top) {
  const float max = max_of(logits);
  weigh_all(logits, max, 1.0f);
  const double log_sum = max + std::log(total_);
  const auto logprob = [&](float logit) { return static_cast<float>(logit - log_sum); };
  SampledLogprobs result;
  result.chosen = {chosen, logprob(logits[chosen])};
  find_best(logits, static_cast<size_t>(std::max(top, 0)));
  for (const Scored& item : candidates_) result.top.push_back({item.id, logprob(item.value)});
  return result;
}

}  // namespace cohort::engine
