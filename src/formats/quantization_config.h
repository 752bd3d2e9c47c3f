// config.json's "quantization" block: {"group_size": 64, "bits": 4, "mode": "affine", "<module path>": {...} or false}.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/json.h"
#include "base/result.h"
#include "tensor/quantization.h"

namespace cohort::formats {

class QuantizationConfig {
 public:
  // From the whole config.json; "quantization_config" is read when "quantization" is absent. kInvalidArgument names the
  // key; kUnsupported names a quant_method that is not MLX's.
  static Result<QuantizationConfig> parse(const Json& config);

  // How the matrix at a module path is quantised: its own entry, else the block's. kNone: it is not.
  QuantFormat format_of(std::string_view path) const;
  // The path has an entry of its own that says how, so the checkpoint must hold its scales.
  bool names(std::string_view path) const;

 private:
  std::optional<QuantFormat> default_;
  std::map<std::string, QuantFormat, std::less<>> overrides_;
};

}  // namespace cohort::formats
