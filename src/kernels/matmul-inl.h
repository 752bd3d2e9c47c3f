// Included by each isa/*.cc inside its own namespace, after its simd type and dot product: no includes but other -inl.h.

#include "kernels/unpack-inl.h"
#include "kernels/decode-inl.h"
#include "kernels/gemm-inl.h"

constexpr bool has_no_prefill_i8(const PackedFormat&) { return false; }

template <class FastMath>
inline constexpr MatmulKernels make_matmul_kernels() {
  return {has_decode_i8,
          quantize_activation,
          decode_i8,
          decode_f32,
          make_gemm_kernels<F32Math>(),
          make_gemm_kernels<FastMath>(),
          has_no_prefill_i8,
          {}};
}
