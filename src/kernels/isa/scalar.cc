// With one lane there is nothing to keep in registers, and unrolled code would be huge.
#define COHORT_UNROLL

#include "kernels/isa/isa.h"
#include "kernels/isa/prelude.h"

namespace cohort::kernels::scalar {
namespace {
#include "kernels/isa/simd_scalar-inl.h"
#include "kernels/isa/dot_scalar-inl.h"
#include "kernels/matmul-inl.h"
#include "kernels/probe-inl.h"
#include "kernels/vector-inl.h"
}  // namespace

const Kernels kKernels = {"scalar", Isa::kScalar, make_matmul_kernels<F32Math>(),
                          make_vector_kernels(), make_probe_kernels<F32Math>()};

}  // namespace cohort::kernels::scalar
