// How far distributions over the next token are from those of a reference, row by row of logits.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace cohort::models {

int32_t argmax(std::span<const float> row);

// log(softmax(logits)). Rows are not empty.
std::vector<double> log_softmax(std::span<const float> row);

struct Divergence {
  double kl_mean = 0,
         kl_max = 0;          // nats: KL(reference || ours), the mean and the largest over rows
  double top1_agreement = 0;  // share of rows whose likeliest token is the reference's
  void fields(auto& visit) {
    visit("kl_mean", kl_mean);
    visit("kl_max", kl_max);
    visit("top1_agreement", top1_agreement);
  }
};

class DivergenceMeter {
 public:
  // Rows of `columns` logits, as many in both.
  void add(std::span<const float> ours, std::span<const float> reference, size_t columns);
  Divergence result() const;

 private:
  double kl_sum_ = 0, kl_max_ = 0;
  int64_t agreed_ = 0, rows_ = 0;
};

}  // namespace cohort::models
