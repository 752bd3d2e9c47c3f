// What cmake/EmbedAssets.cmake generates against; use assets.h.
#pragma once

#include <cstddef>
#include <string_view>

namespace cohort::assets {

struct Entry {
  std::string_view name;
  const char* begin;
  const char* end;
};

extern const Entry kEntries[];
extern const size_t kEntryCount;

}  // namespace cohort::assets
