#include "backend/mlx/mlx_backend.h"

namespace cohort::backend {
namespace {

tl::unexpected<Error> absent() {
  return fail(Code::kUnsupported,
              "this cohort was built without MLX; install it (brew install mlx) and build again");
}

}  // namespace

Result<MlxDevice> mlx_device() { return absent(); }

Result<std::unique_ptr<Backend>> make_mlx_backend(const MlxOptions&) { return absent(); }

Result<MachineLimits> measure_mlx_limits() { return absent(); }

}  // namespace cohort::backend
