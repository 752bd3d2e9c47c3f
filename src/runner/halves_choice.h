// Whether prompts are computed in halves (models/halves.h): that hides the sums on their way, and makes smaller products,
// so what is faster depends on the links and the model. Both ways are timed on real steps.
#pragma once

#include <array>
#include <cstddef>

namespace cohort::runner {

class HalvesChoice {
 public:
  static constexpr int kLookAgain = 32;  // steps until the slower way is tried once more

  bool next();  // of the step that begins
  void ran(bool in_halves, double seconds_a_row);

 private:
  std::array<double, 2> seconds_{};  // a row, the last time; [in halves]. 0: never tried
  int since_other_ = 0;              // steps
};

}  // namespace cohort::runner
