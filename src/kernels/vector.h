// Kernels on vectors of floats: elementwise, norms, rope, softmax, attention.
#pragma once

namespace cohort::kernels {

struct VectorKernels {};

}  // namespace cohort::kernels
