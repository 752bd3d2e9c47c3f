#include "models/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

namespace cohort::models {
namespace {

constexpr double kTwoPi = 2 * std::numbers::pi;
constexpr int kLlama3OriginalPositions = 8192;
constexpr int kYarnOriginalPositions = 4096;

std::vector<double> plain_frequencies(int dims, double theta) {
  std::vector<double> frequencies;
  for (int i = 0; i < dims; i += 2) {
    frequencies.push_back(std::pow(theta, -static_cast<double>(i) / dims));
  }
  return frequencies;
}

// Long waves are stretched by `factor`, short ones stay, and those between are blended.
void scale_llama3(std::vector<double>& frequencies, const RopeScaling& scaling) {
  const double positions =
      scaling.original_max_position_embeddings.value_or(kLlama3OriginalPositions);
  for (double& frequency : frequencies) {
    const double wavelength = kTwoPi / frequency;
    if (wavelength < positions / scaling.high_freq_factor) continue;
    if (wavelength > positions / scaling.low_freq_factor) {
      frequency /= scaling.factor;
      continue;
    }
    const double keep = (positions / wavelength - scaling.low_freq_factor) /
                        (scaling.high_freq_factor - scaling.low_freq_factor);
    frequency *= (1 - keep) / scaling.factor + keep;
  }
}

// The dimension whose wave turns `rotations` times over the original context.
double yarn_dimension(double rotations, int dims, double theta, double positions) {
  return dims * std::log(positions / (rotations * kTwoPi)) / (2 * std::log(theta));
}

void scale_yarn(std::vector<double>& frequencies, int dims, double theta,
                const RopeScaling& scaling) {
  const double positions =
      scaling.original_max_position_embeddings.value_or(kYarnOriginalPositions);
  const double low =
      std::max(std::floor(yarn_dimension(scaling.beta_fast, dims, theta, positions)), 0.0);
  double high =
      std::min(std::ceil(yarn_dimension(scaling.beta_slow, dims, theta, positions)), dims - 1.0);
  if (low == high) high += 0.001;
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const double stretch = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    frequencies[i] *= stretch / scaling.factor + (1 - stretch);
  }
}

}  // namespace

float yarn_mscale(float factor, float mscale) {
  return factor <= 1 ? 1.0f : 0.1f * mscale * std::log(factor) + 1.0f;
}

Result<backend::RopeSpec> make_rope_spec(int dims, float theta,
                                         const std::optional<RopeScaling>& scaling,
                                         bool traditional) {
  if (dims <= 0 || dims % 2 != 0 || !(theta > 1)) {
    return fail(Code::kInvalidArgument, "config.json: rope over {} dimensions with theta {}", dims,
                theta);
  }
  backend::RopeSpec spec{.dims = dims, .traditional = traditional};
  std::vector<double> frequencies = plain_frequencies(dims, theta);
  const std::string kind = scaling ? scaling->kind() : "default";
  if (scaling && !(scaling->factor > 0)) {
    return fail(Code::kInvalidArgument, "config.json: rope scaling factor is {}", scaling->factor);
  }
  if (kind == "linear") {
    for (double& frequency : frequencies) frequency /= scaling->factor;
  } else if (kind == "llama3") {
    scale_llama3(frequencies, *scaling);
  } else if (kind == "yarn" || kind == "deepseek_yarn") {
    scale_yarn(frequencies, dims, theta, *scaling);
    spec.scale = yarn_mscale(scaling->factor, scaling->mscale) /
                 yarn_mscale(scaling->factor, scaling->mscale_all_dim);
  } else if (kind != "default" && kind != "mrope") {
    return fail(Code::kUnsupported, "config.json: rope scaling '{}' is unknown", kind);
  }
  spec.inverse_frequencies.assign(frequencies.begin(), frequencies.end());
  return spec;
}

}  // namespace cohort::models
