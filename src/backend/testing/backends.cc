#include "backend/testing/backends.h"

#include "backend/cpu/cpu_backend.h"
#include "backend/testing/lazy_backend.h"

namespace cohort::backend::testing {

std::vector<TestBackend> exact_backends() {
  return {{"cpu", [] { return make_cpu_backend({.threads = 1, .math = Math::kF32}); }},
          {"lazy", make_lazy_backend}};
}

}  // namespace cohort::backend::testing
