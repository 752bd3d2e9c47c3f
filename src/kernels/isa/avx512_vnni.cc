#include <immintrin.h>

#include "kernels/isa/isa.h"
#include "kernels/isa/prelude.h"

namespace cohort::kernels::avx512_vnni {
namespace {
#include "kernels/isa/simd_avx512-inl.h"
#include "kernels/isa/dot_vnni-inl.h"
#include "kernels/matmul-inl.h"
#include "kernels/gemm_i8-inl.h"
#include "kernels/probe-inl.h"
#include "kernels/vector-inl.h"
}  // namespace

const Kernels kKernels = {"avx512_vnni", Isa::kAvx512Vnni,
                          with_prefill_i8<QuadDots>(make_matmul_kernels<F32Math>()),
                          make_vector_kernels(), make_probe_kernels<F32Math>()};

}  // namespace cohort::kernels::avx512_vnni
