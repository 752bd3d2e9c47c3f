// Which backends this process has, and one of them by name.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "backend/backend.h"
#include "backend/cpu/machine_limits.h"
#include "backend/math.h"

namespace cohort::backend {

inline constexpr std::string_view kBackendNames[] = {"auto", "cpu", "mlx"};

struct Choice {
  std::string name = "auto";  // auto: mlx where it has a GPU, else cpu
  int threads = 0;            // of cpu; 0: one a core this process may run on
  Math math = Math::kFast;
  uint64_t memory_limit_bytes = 0;  // of weights + KV; 0: what the machine has available
  std::string kernels;              // as in CpuOptions
  double pace = 1;                  // likewise
};

// "cpu" or "mlx". kInvalidArgument for other names; kUnsupported says why mlx is not there.
Result<std::string> resolve_backend(std::string_view name);

// Errors as of resolve_backend(). kUnsupported: only cpu can be held to a pace.
Result<std::unique_ptr<Backend>> make_backend(const Choice& choice);

// What the one of `choice` could do at best here; takes a second or two.
Result<MachineLimits> measure_limits(const Choice& choice);

// More than this a backend of that name cannot keep, whatever the machine has available. 0: no such limit.
uint64_t most_memory_bytes(std::string_view name);

struct BackendState {
  std::string name;
  std::string detail;   // of what it computes on
  std::string missing;  // why it cannot be used; empty: it can
};
std::vector<BackendState> backend_states();

}  // namespace cohort::backend
