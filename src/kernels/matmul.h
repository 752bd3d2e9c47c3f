// Products with matrices packed once at load into the stream that the kernels read.
#pragma once

namespace cohort::kernels {

struct MatmulKernels {};

}  // namespace cohort::kernels
