#include "kernels/testing/amx_reference.h"
#include "kernels/testing/under_test.h"

namespace cohort::kernels {

std::vector<const Kernels*> kernels_under_test() {
  std::vector<const Kernels*> tables(available_kernels().begin(), available_kernels().end());
  if (find_kernels("avx512_bf16") != nullptr) tables.push_back(&amx_reference_kernels());
  return tables;
}

}  // namespace cohort::kernels
