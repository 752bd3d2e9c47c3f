#include "backend/mlx/core.h"

#include <cstring>

#include "base/check.h"

namespace cohort::backend::mlx_parts {

mx::Dtype mlx_dtype(DType type) {
  switch (type) {
    case DType::kF32: return mx::float32;
    case DType::kF16: return mx::float16;
    case DType::kBF16: return mx::bfloat16;
    case DType::kU8: return mx::uint8;
    case DType::kU32: return mx::uint32;
    default: COHORT_CHECK(false);  // formats/ lets no other in a matrix
  }
}

mx::array own_copy(const mx::array& x) {
  mx::array from = mx::contiguous(x);
  mx::eval(from);
  mx::allocator::Buffer buffer = mx::allocator::malloc(from.nbytes());
  std::memcpy(buffer.raw_ptr(), from.data<char>(), from.nbytes());
  return mx::array(buffer, from.shape(), from.dtype());
}

}  // namespace cohort::backend::mlx_parts
