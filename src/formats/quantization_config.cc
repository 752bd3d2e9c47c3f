#include "formats/quantization_config.h"

#include <algorithm>
#include <initializer_list>

namespace cohort::formats {
namespace {

// Bits and group sizes that a mode allows; the first is MLX's default where a block leaves one out.
struct ModeRule {
  QuantMode mode;
  std::initializer_list<int> bits;
  std::initializer_list<int> group_sizes;
};
const ModeRule kRules[] = {
    {QuantMode::kAffine, {4, 2, 3, 5, 6, 8}, {64, 32, 128}},
    {QuantMode::kMxfp4, {4}, {32}},
    {QuantMode::kNvfp4, {4}, {16}},
    {QuantMode::kMxfp8, {8}, {32}},
};

struct Block {
  std::string mode = "affine";
  std::optional<int> bits, group_size;
  std::optional<std::string> quant_method;
  void fields(auto& visit) {
    visit("mode", mode);
    visit("bits", bits);
    visit("group_size", group_size);
    visit("quant_method", quant_method);
  }
};

bool allows(std::initializer_list<int> values, int value) {
  return std::find(values.begin(), values.end(), value) != values.end();
}

Result<QuantFormat> parse_format(const Json& value, const std::string& path) {
  COHORT_TRY(const Block block, from_json<Block>(value, path));
  if (block.quant_method) {
    return fail(Code::kUnsupported, "{}.quant_method: '{}' is not supported; MLX's formats are",
                path, *block.quant_method);
  }
  const std::optional<QuantMode> mode = parse_quant_mode(block.mode);
  const auto* rule =
      std::ranges::find_if(kRules, [&](const ModeRule& r) { return r.mode == mode; });
  if (rule == std::end(kRules)) {
    return fail(Code::kUnsupported, "{}.mode: '{}' is unknown", path, block.mode);
  }
  const QuantFormat format{.mode = *mode,
                           .bits = block.bits.value_or(*rule->bits.begin()),
                           .group_size = block.group_size.value_or(*rule->group_sizes.begin())};
  if (!allows(rule->bits, format.bits) || !allows(rule->group_sizes, format.group_size)) {
    return fail(Code::kInvalidArgument, "{}: {} with {} bits in groups of {} does not exist", path,
                block.mode, format.bits, format.group_size);
  }
  return format;
}

}  // namespace

Result<QuantizationConfig> QuantizationConfig::parse(const Json& config) {
  QuantizationConfig result;
  std::string path = "quantization";
  auto block = config.find(path);
  if (block == config.end() || block->is_null()) block = config.find(path = "quantization_config");
  if (block == config.end() || block->is_null()) return result;
  COHORT_TRY(result.default_, parse_format(*block, path));
  for (const auto& [name, value] : block->items()) {
    if (value.is_object()) {
      COHORT_TRY(result.overrides_[name], parse_format(value, path + "." + name));
    } else if (value.is_boolean() && !value.get<bool>()) {
      result.overrides_[name] = QuantFormat{};
    }
  }
  return result;
}

QuantFormat QuantizationConfig::format_of(std::string_view path) const {
  const auto own = overrides_.find(path);
  if (own != overrides_.end()) return own->second;
  return default_.value_or(QuantFormat{});
}

bool QuantizationConfig::names(std::string_view path) const {
  const auto own = overrides_.find(path);
  return own != overrides_.end() && own->second.mode != QuantMode::kNone;
}

}  // namespace cohort::formats
