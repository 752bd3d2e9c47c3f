// MLX, and the one place where what it throws becomes an Error.
#pragma once

#include <exception>
#include <string_view>
#include <utility>

#include <mlx/mlx.h>

#include "base/result.h"
#include "tensor/dtype.h"

namespace cohort::backend::mlx_parts {

namespace mx = ::mlx::core;

// MLX's allocators say so when there is no memory left; it has no error codes.
inline tl::unexpected<Error> mlx_error(std::string_view what) {
  const bool memory = what.find("alloc") != std::string_view::npos;
  return fail(memory ? Code::kUnavailable : Code::kInternal, "MLX: {}", what);
}

// What `call` returns, as a Result.
template <class Call>
auto caught(Call&& call) -> Result<decltype(call())> {
  try {
    if constexpr (std::is_void_v<decltype(call())>) {
      call();
      return {};
    } else {
      return call();
    }
  } catch (const std::exception& error) {
    return mlx_error(error.what());
  }
}

mx::Dtype mlx_dtype(DType type);  // of plain numbers

// The same values in memory of their own; mx::copy() and mx::contiguous() may share it.
mx::array own_copy(const mx::array& x);

}  // namespace cohort::backend::mlx_parts
