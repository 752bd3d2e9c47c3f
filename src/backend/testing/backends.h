// The backends that tests run against, each in its exact form; MLX when it is there.
#pragma once

#include <functional>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "backend/backend.h"

namespace cohort::backend::testing {

struct TestBackend {
  std::string name;
  std::function<std::unique_ptr<Backend>()> make;  // float32 throughout, on the calling thread

  friend void PrintTo(const TestBackend& backend, std::ostream* out) { *out << backend.name; }
};

bool has_mlx();
std::vector<TestBackend> exact_backends();

}  // namespace cohort::backend::testing
