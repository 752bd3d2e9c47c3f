// The table of kernels for AMX with registers that are arrays, for tests. Only where the CPU runs avx512_bf16.
#pragma once

#include "kernels/kernels.h"

namespace cohort::kernels {

const Kernels& amx_reference_kernels();

}  // namespace cohort::kernels
