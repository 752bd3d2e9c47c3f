// The time of day. What is measured or waited for goes by a steady clock instead.
#pragma once

#include <chrono>
#include <cstdint>

namespace cohort {

inline int64_t unix_ms(
    std::chrono::system_clock::time_point when = std::chrono::system_clock::now()) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(when.time_since_epoch()).count();
}

}  // namespace cohort
