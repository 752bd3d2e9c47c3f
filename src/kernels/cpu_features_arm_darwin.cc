#include <sys/sysctl.h>

#include "kernels/cpu_features.h"

namespace cohort::kernels {
namespace {

bool has(const char* name) {
  int value = 0;
  size_t size = sizeof(value);
  return sysctlbyname(name, &value, &size, nullptr, 0) == 0 && value != 0;
}

}  // namespace

CpuFeatures detect_cpu_features() {
  CpuFeatures f;
  f.dotprod = has("hw.optional.arm.FEAT_DotProd");
  f.i8mm = has("hw.optional.arm.FEAT_I8MM");
  f.bf16 = has("hw.optional.arm.FEAT_BF16");
  return f;
}

}  // namespace cohort::kernels
