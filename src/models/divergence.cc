#include "models/divergence.h"

#include <cmath>

namespace cohort::models {
namespace {

double divergence_of_row(std::span<const float> ours, std::span<const float> reference) {
  const std::vector<double> p = log_softmax(reference), q = log_softmax(ours);
  double divergence = 0;
  for (size_t i = 0; i < p.size(); ++i) divergence += std::exp(p[i]) * (p[i] - q[i]);
  return divergence;
}

}  // namespace

int32_t argmax(std::span<const float> row) {
  return static_cast<int32_t>(std::ranges::max_element(row) - row.begin());
}

std::vector<double> log_softmax(std::span<const float> row) {
  const double largest = *std::ranges::max_element(row);
  double sum = 0;
  for (const double value : row) sum += std::exp(value - largest);
  std::vector<double> logs(row.begin(), row.end());
  for (double& value : logs) value -= largest + std::log(sum);
  return logs;
}

void DivergenceMeter::add(std::span<const float> ours, std::span<const float> reference,
                          size_t columns) {
  for (size_t at = 0; at < reference.size(); at += columns) {
    const auto a = ours.subspan(at, columns), b = reference.subspan(at, columns);
    const double row = divergence_of_row(a, b);
    kl_sum_ += row;
    kl_max_ = std::max(kl_max_, row);
    agreed_ += argmax(a) == argmax(b) ? 1 : 0;
    ++rows_;
  }
}

Divergence DivergenceMeter::result() const {
  const auto rows = static_cast<double>(std::max<int64_t>(rows_, 1));
  return {.kl_mean = kl_sum_ / rows,
          .kl_max = kl_max_,
          .top1_agreement = static_cast<double>(agreed_) / rows};
}

}  // namespace cohort::models
