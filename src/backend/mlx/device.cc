// What MLX computes on, and how fast that is.
#include <chrono>
#include <functional>

#include <mlx/backend/gpu/device_info.h>

#include "backend/mlx/core.h"
#include "backend/mlx/mlx_backend.h"

namespace cohort::backend {
namespace {

using namespace mlx_parts;
using DeviceInfo = std::unordered_map<std::string, std::variant<std::string, size_t>>;

template <class T>
T value_of(const DeviceInfo& info, const char* key, T otherwise) {
  const auto found = info.find(key);
  const T* value = found == info.end() ? nullptr : std::get_if<T>(&found->second);
  return value == nullptr ? otherwise : *value;
}

MlxDevice describe() {
  if (mx::default_device() != mx::Device::gpu) return {.name = "MLX's CPU kernels"};
  const DeviceInfo& info = mx::gpu::device_info();
  return {.name = value_of<std::string>(info, "device_name", "GPU"),
          .gpu = true,
          .memory_bytes =
              value_of<size_t>(info, "memory_size", value_of<size_t>(info, "total_memory", 0)),
          .gpu_limit_bytes = value_of<size_t>(info, "max_recommended_working_set_size", 0)};
}

// ---- rates: the best of a few passes, the first of which is not counted (kernels are compiled in it) ----

constexpr int kPasses = 4;
constexpr int kReadFloats = 64 << 20;  // 256 MiB: larger than any cache
constexpr int kReadFloatsOfCpu = 16 << 20;
constexpr int kMatrixSize = 2048, kMatrixSizeOfCpu = 512;

double seconds_of(const std::function<mx::array()>& make) {
  const auto started = std::chrono::steady_clock::now();
  mx::array made = make();
  mx::eval(made);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
}

double best_rate(double amount, const std::function<mx::array()>& make) {
  seconds_of(make);
  double best = 0;
  for (int i = 0; i < kPasses; ++i) best = std::max(best, amount / seconds_of(make));
  return best;
}

double matmul_rate(int size, mx::Dtype type) {
  mx::array a = mx::ones({size, size}, type), b = mx::ones({size, size}, type);
  mx::eval(a, b);
  const double operations = 2.0 * size * size * size;
  return best_rate(operations, [&] { return mx::matmul(a, b); });
}

double read_rate(int floats) {
  mx::array x = mx::ones({floats}, mx::float32);
  mx::eval(x);
  return best_rate(4.0 * floats, [&] { return mx::sum(x); });
}

}  // namespace

Result<MlxDevice> mlx_device() { return caught(describe); }

Result<MachineLimits> measure_mlx_limits() {
  COHORT_TRY(const MlxDevice device, mlx_device());
  return caught([&] {
    const int size = device.gpu ? kMatrixSize : kMatrixSizeOfCpu;
    const double read = read_rate(device.gpu ? kReadFloats : kReadFloatsOfCpu);
    const double narrow = matmul_rate(size, mx::bfloat16);
    const MachineLimits limits{.read_bytes_per_s = read,
                               .read_bytes_per_s_one_core = read,
                               .fast_operations_per_s = narrow,
                               .int8_operations_per_s = narrow,
                               .f32_operations_per_s = matmul_rate(size, mx::float32)};
    mx::clear_cache();
    return limits;
  });
}

}  // namespace cohort::backend
