// Files inside the binary: the built-in model, the model cards. Named by their path below resources/.
#pragma once

#include <optional>
#include <string_view>
#include <vector>

namespace cohort::assets {

// The bytes live as long as the process and start at a multiple of 64.
std::optional<std::string_view> find(std::string_view name);

std::vector<std::string_view> names_below(std::string_view prefix);  // sorted

}  // namespace cohort::assets
