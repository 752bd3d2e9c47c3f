// Included by each isa/*.cc inside its own namespace, after its simd type: no includes here.

inline constexpr VectorKernels make_vector_kernels() { return {}; }
