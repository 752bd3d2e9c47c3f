#include <immintrin.h>

#include "kernels/isa/isa.h"
#include "kernels/isa/prelude.h"

namespace cohort::kernels::amx {
namespace {
#include "kernels/isa/simd_avx512-inl.h"
#include "kernels/isa/dot_vnni-inl.h"
#include "kernels/matmul-inl.h"
#include "kernels/isa/bf16_math_avx512-inl.h"
#include "kernels/isa/decode_bf16_avx512-inl.h"
#include "kernels/vector-inl.h"
#include "kernels/isa/attention_bf16_avx512-inl.h"
#include "kernels/isa/gemm_amx-inl.h"
#include "kernels/isa/tiles_amx-inl.h"
#include "kernels/probe-inl.h"
}  // namespace

const Kernels kKernels = {"amx", Isa::kAmx,
                          with_amx<AmxTiles>(with_decode_bf16(make_matmul_kernels<Bf16Math>())),
                          with_bf16_attention<AmxProduct<AmxTiles>>(make_vector_kernels()),
                          with_amx_probe<AmxTiles>(make_probe_kernels<Bf16Math>())};

}  // namespace cohort::kernels::amx
