#include "kernels/testing/under_test.h"

namespace cohort::kernels {

std::vector<const Kernels*> kernels_under_test() {
  return {available_kernels().begin(), available_kernels().end()};
}

}  // namespace cohort::kernels
