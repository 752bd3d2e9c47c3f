#include "assets/assets.h"

#include <algorithm>

#include "assets/table.h"

namespace cohort::assets {

std::optional<std::string_view> find(std::string_view name) {
  for (size_t i = 0; i < kEntryCount; ++i) {
    const Entry& entry = kEntries[i];
    if (entry.name == name)
      return std::string_view(entry.begin, static_cast<size_t>(entry.end - entry.begin));
  }
  return std::nullopt;
}

std::vector<std::string_view> names_below(std::string_view prefix) {
  std::vector<std::string_view> names;
  for (size_t i = 0; i < kEntryCount; ++i) {
    if (kEntries[i].name.starts_with(prefix)) names.push_back(kEntries[i].name);
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace cohort::assets
