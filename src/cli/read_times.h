// What a model takes beside reading its weights, from how long it takes and how fast memory was meanwhile.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "cli/median.h"

namespace cohort::cli {

// Times of reading the same bytes, in turns with looks at memory. What a kernel takes beside memory's time is a small
// difference of two times that vary, so the median of the differences is kept: memory that is slow for a second is in a few
// of them.
class ReadTimes {
 public:
  explicit ReadTimes(double bytes = 0) : bytes_(bytes) {}

  // A memory rate of 0 is one that is not known.
  void add(double seconds, double memory_bytes_per_s) {
    whole_s_.push_back(seconds);
    if (memory_bytes_per_s > 0) beside_s_.push_back(seconds - bytes_ / memory_bytes_per_s);
  }

  double bytes() const { return bytes_; }

  // All of it where memory's time is not known.
  double beside_memory_s() const { return median(beside_s_.empty() ? whole_s_ : beside_s_); }

  // Less `fixed_s`, had memory given `read_bytes_per_s` all the time; as it was, where that is not known (0). None beats
  // memory. 0: the reading took no time that could be told.
  double bytes_per_s(double read_bytes_per_s, double fixed_s) const {
    const double whole_s = median(whole_s_);
    if (read_bytes_per_s <= 0 || beside_s_.empty())
      return whole_s > 0 ? bytes_ / std::max(whole_s - fixed_s, whole_s / 2) : 0;
    return bytes_ / (std::max(beside_memory_s() - fixed_s, 0.0) + bytes_ / read_bytes_per_s);
  }

 private:
  double bytes_;
  std::vector<double> whole_s_, beside_s_;
};

// What a layer takes beside its bytes, when its weights have emptied the caches: as much more as many slim layers take
// than few thick ones, byte for byte.
inline double layer_seconds(const ReadTimes& slim, int32_t slim_layers, const ReadTimes& thick,
                            int32_t thick_layers) {
  const double ratio = slim.bytes() / thick.bytes();
  return (slim.beside_memory_s() - ratio * thick.beside_memory_s()) /
         (slim_layers - ratio * thick_layers);
}

}  // namespace cohort::cli
