// Included by each isa/*.cc inside its own namespace, after its simd type: no includes here.

inline constexpr MatmulKernels make_matmul_kernels() { return {}; }
