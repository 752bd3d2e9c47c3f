// The backends that tests run against, each in its exact form.
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

std::vector<TestBackend> exact_backends();

}  // namespace cohort::backend::testing
