// Feed-forwards: the gated one, and mixtures of them.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "models/block.h"
#include "models/loader.h"

namespace cohort::models {

// Reads prefix.{gate,up,down}_proj; keeps this rank's columns.
struct GatedOptions {
  int width = 0;
  int intermediate = 0;
  bool bias = false;
  backend::Activation activation = backend::Activation::kSilu;
};
Result<std::unique_ptr<Block>> load_gated(Loader& loader, const std::string& prefix,
                                          const GatedOptions& options);

// A router, its experts, and perhaps one dense feed-forward that every token takes besides. The experts of a rank are cut
// like a dense feed-forward when there are columns for all ranks (so all ranks work on every token), else given out whole.
struct MixtureOptions {
  int width = 0;
  int intermediate = 0;  // of one expert
  int experts = 0;
  backend::RouterSpec router;
  backend::Activation activation = backend::Activation::kSilu;
  bool bias = false;  // on router and experts
  std::string router_name = "gate";
  std::string experts_name = "switch_mlp";
  std::string choice_bias_name;  // a tensor under the prefix; empty: none
  int shared_intermediate = 0;   // 0: none; else prefix.shared_experts
};
Result<std::unique_ptr<Block>> load_mixture(Loader& loader, const std::string& prefix,
                                            const MixtureOptions& options);

}  // namespace cohort::models
