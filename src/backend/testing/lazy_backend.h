// A backend for tests that computes nothing before it must: ops record a graph, and read() and finish() evaluate it with the
// scalar reference. It shows that the seam can be met lazily, and that models do not count on eager results.
#pragma once

#include <memory>

#include "backend/backend.h"

namespace cohort::backend::testing {

// In float32, on the calling thread.
std::unique_ptr<Backend> make_lazy_backend();

}  // namespace cohort::backend::testing
