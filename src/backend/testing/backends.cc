#include "backend/testing/backends.h"

#include "backend/cpu/cpu_backend.h"
#include "backend/mlx/mlx_backend.h"
#include "backend/testing/lazy_backend.h"

namespace cohort::backend::testing {

bool has_mlx() { return mlx_device().has_value(); }

std::vector<TestBackend> exact_backends() {
  std::vector<TestBackend> all = {
      {"cpu", [] { return make_cpu_backend({.threads = 1, .math = Math::kF32}); }},
      {"lazy", make_lazy_backend}};
  if (has_mlx())
    all.push_back({"mlx", [] { return make_mlx_backend({.math = Math::kF32}).value(); }});
  return all;
}

}  // namespace cohort::backend::testing
