// Chooses the next token from a row of logits: a pure function of the logits, the tokens so far, the parameters, the seed
// and the position.
//
// The order is Hugging Face's: repetition, frequency and presence penalties, logit_bias; then temperature, top_k, top_p
// (of what top_k left), min_p, typical_p. Ties go to the lowest id.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/sampling.h"
#include "engine/engine.h"
#include "text/tokenizer.h"

namespace cohort::engine {

// kInvalidArgument names the parameter, its value and the range.
Result<void> validate(const Sampling& sampling, int32_t vocab_size);

// What the penalties look at. Repetition counts prompt and output, presence and frequency only the output.
class SeenTokens {
 public:
  void add_prompt(text::TokenId id) { output_count_.try_emplace(id, 0); }
  void add_output(text::TokenId id) { ++output_count_[id]; }
  const std::unordered_map<text::TokenId, int32_t>& output_counts() const { return output_count_; }

  static bool needed(const Sampling& sampling);  // else it may stay empty

 private:
  std::unordered_map<text::TokenId, int32_t> output_count_;  // of each token seen
};

struct SampleInput {
  const Sampling& sampling;
  const SeenTokens& seen;
  std::span<const text::TokenId>
      banned;  // not to be chosen: end-of-sequence tokens before min_tokens
  uint64_t seed = 0;
  uint64_t position = 0;  // of the token that is chosen, from the start of the sequence
};

// Holds scratch memory only. One thread.
class Sampler {
 public:
  // `logits` are changed while it works and restored on return. nullopt when no token can be chosen: the largest logit is
  // not finite. A NaN is never chosen.
  std::optional<text::TokenId> sample(std::span<float> logits, const SampleInput& input);

  // Log-softmax of the logits as the model gave them, of the chosen token and of the best `top`.
  SampledLogprobs logprobs(std::span<const float> logits, text::TokenId chosen, int32_t top);

 private:
  struct Scored {
    float value;  // a logit or a weight
    text::TokenId id;
  };
  static bool better(const Scored& a, const Scored& b);

  void set_logit(std::span<float> logits, text::TokenId id, float value);
  void penalise(std::span<float> logits, const SampleInput& input);
  void restore(std::span<float> logits);

  std::optional<text::TokenId> choose(std::span<const float> logits, const Sampling& sampling,
                                      double unit);
  text::TokenId draw_from_all(double unit) const;
  text::TokenId draw_from_candidates(double unit) const;
  void weigh_all(std::span<const float> logits, float max, float temperature);
  void find_best(std::span<const float> logits, size_t count);
  void gather_candidates(std::span<const float> logits, float max, const Sampling& sampling);
  template <class Rank>
  void keep_mass(double mass, Rank rank);
  void keep_top_p(float top_p);
  void keep_min_p(float min_p);
  void keep_typical(float typical_p);

  std::vector<std::pair<text::TokenId, float>> replaced_;  // logits to restore
  std::vector<float> weights_;      // exp((logit - max) / temperature), whole blocks
  std::vector<double> block_sums_;  // of weights_
  std::vector<Scored> candidates_;
  std::vector<double> bucket_mass_;
  double total_ = 0;  // of the weights the candidates were taken from
};

}  // namespace cohort::engine
