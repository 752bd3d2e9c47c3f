#include "backend/choose.h"

#include "backend/cpu/cpu_backend.h"
#include "backend/mlx/mlx_backend.h"

namespace cohort::backend {

Result<std::string> resolve_backend(std::string_view name) {
  if (name == "cpu") return std::string("cpu");
  if (name != "auto" && name != "mlx")
    return fail(Code::kInvalidArgument, "unknown backend '{}'; use auto, cpu or mlx", name);
  const Result<MlxDevice> device = mlx_device();
  if (name == "auto") return std::string(device && device->gpu ? "mlx" : "cpu");
  if (!device) return tl::unexpected(device.error());
  return std::string("mlx");
}

Result<std::unique_ptr<Backend>> make_backend(const Choice& choice) {
  COHORT_TRY(const std::string name, resolve_backend(choice.name));
  if (name == "mlx") {
    if (choice.pace != 1)
      return fail(Code::kUnsupported, "only the backend cpu can be held to a pace");
    return make_mlx_backend({.math = choice.math, .memory_limit_bytes = choice.memory_limit_bytes});
  }
  return make_cpu_backend({.threads = choice.threads,
                           .math = choice.math,
                           .memory_limit_bytes = choice.memory_limit_bytes,
                           .kernels = choice.kernels,
                           .pace = choice.pace});
}

Result<MachineLimits> measure_limits(const Choice& choice) {
  COHORT_TRY(const std::string name, resolve_backend(choice.name));
  if (name == "mlx") return measure_mlx_limits();
  return measure_machine_limits(choice.threads, choice.kernels);
}

uint64_t most_memory_bytes(std::string_view name) {
  if (name != "mlx") return 0;
  const Result<MlxDevice> device = mlx_device();
  return device ? device->gpu_limit_bytes : 0;
}

std::vector<BackendState> backend_states() {
  std::vector<BackendState> states = {{"cpu", cpu_kernel_names().back(), ""}};
  const Result<MlxDevice> device = mlx_device();
  if (!device) {
    states.push_back({"mlx", "", device.error().message});
  } else if (!device->gpu) {
    states.push_back({"mlx", "", "MLX is here but finds no GPU; its CPU kernels are for tests"});
  } else {
    states.push_back({"mlx", device->name, ""});
  }
  return states;
}

}  // namespace cohort::backend
