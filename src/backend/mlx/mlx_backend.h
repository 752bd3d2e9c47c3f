// The compute seam on Apple GPUs, through MLX's C++ interface (mlx_backend.cc and its neighbours where MLX was found when
// cohort was built, no_mlx.cc elsewhere). On other machines MLX computes on its CPU kernels: right, and slow.
//
// A step is one lazy graph, built by the ops and evaluated once by read() or finish(). In a tensor group the graph is cut
// where ranks exchange: nothing on the GPU ever waits for another device, which would end in the GPU's own time-out when
// that device is slow or gone. The values are exchanged where they lie, in unified memory.
// MLX's streams belong to threads, so a backend is used on the thread that made it, as backend/backend.h says.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "backend/backend.h"
#include "backend/cpu/machine_limits.h"
#include "backend/math.h"

namespace cohort::backend {

struct MlxDevice {
  std::string name;              // "Apple M4 Max"
  bool gpu = false;              // else MLX's CPU kernels
  uint64_t memory_bytes = 0;     // of the device; on Apple silicon the machine's
  uint64_t gpu_limit_bytes = 0;  // of it that the OS lets a GPU keep resident; 0: not told
};

// What MLX would compute on. kUnsupported says why it cannot: not built in, or no device.
Result<MlxDevice> mlx_device();

struct MlxOptions {
  // kF32: float32 activations and weights. Else activations are bf16, and weights are as the checkpoint has them.
  Math math = Math::kFast;
  uint64_t memory_limit_bytes = 0;  // of weights + KV; 0: what the machine has available
};

// Errors as of mlx_device(). MLX's own memory limits are the process's: one backend a process keeps to its own.
Result<std::unique_ptr<Backend>> make_mlx_backend(const MlxOptions& options = {});

// As measure_machine_limits() for a CPU, on what mlx_device() names; one core counts as all, and math int8 as fast.
Result<MachineLimits> measure_mlx_limits();

}  // namespace cohort::backend
