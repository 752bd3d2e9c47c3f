#include <immintrin.h>

#include "kernels/isa/isa.h"
#include "kernels/isa/prelude.h"

namespace cohort::kernels::avx512_bf16 {
namespace {
#include "kernels/isa/simd_avx512-inl.h"
#include "kernels/isa/dot_vnni-inl.h"
#include "kernels/matmul-inl.h"
#include "kernels/isa/bf16_math_avx512-inl.h"
#include "kernels/isa/decode_bf16_avx512-inl.h"
#include "kernels/gemm_i8-inl.h"
#include "kernels/probe-inl.h"
#include "kernels/vector-inl.h"
#include "kernels/isa/attention_bf16_avx512-inl.h"
}  // namespace

const Kernels kKernels = {
    "avx512_bf16", Isa::kAvx512Bf16,
    with_decode_bf16(with_prefill_i8<QuadDots>(make_matmul_kernels<Bf16Math>())),
    with_bf16_attention<VectorProduct>(make_vector_kernels()), make_probe_kernels<Bf16Math>()};

}  // namespace cohort::kernels::avx512_bf16
