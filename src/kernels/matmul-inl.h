// Included by each isa/*.cc inside its own namespace, after its simd type and dot product: no includes but other -inl.h.

#include "kernels/unpack-inl.h"
#include "kernels/decode-inl.h"
#include "kernels/gemm-inl.h"

constexpr bool takes_no_format(const PackedFormat&) { return false; }

template <class FastMath>
inline constexpr MatmulKernels make_matmul_kernels() {
  return {has_decode_i8,
          quantize_activation,
          decode_i8,
          decode_f32,
          takes_no_format,
          nullptr,
          nullptr,
          make_gemm_kernels<F32Math>(),
          make_gemm_kernels<FastMath>(),
          takes_no_format,
          {}};
}
