#include <arm_neon.h>

#include "kernels/isa/isa.h"
#include "kernels/isa/prelude.h"

namespace cohort::kernels::neon_i8mm {
namespace {
#include "kernels/isa/simd_neon-inl.h"
#include "kernels/isa/dot_neon_dotprod-inl.h"
#include "kernels/matmul-inl.h"
#include "kernels/gemm_i8-inl.h"
#include "kernels/isa/dots_i8mm-inl.h"
#include "kernels/probe-inl.h"
#include "kernels/vector-inl.h"
}  // namespace

const Kernels kKernels = {"neon_i8mm", Isa::kNeonI8mm,
                          with_prefill_i8<BlockDots>(make_matmul_kernels<F32Math>()),
                          make_vector_kernels(), make_probe_kernels<F32Math>()};

}  // namespace cohort::kernels::neon_i8mm
