#include "runner/halves_choice.h"

namespace cohort::runner {

bool HalvesChoice::next() {
  for (const bool in_halves : {false, true}) {
    if (seconds_[in_halves] == 0) return in_halves;
  }
  const bool faster = seconds_[true] < seconds_[false];
  if (++since_other_ < kLookAgain) return faster;
  since_other_ = 0;
  return !faster;
}

void HalvesChoice::ran(bool in_halves, double seconds_a_row) {
  seconds_[in_halves] = seconds_a_row;
}

}  // namespace cohort::runner
