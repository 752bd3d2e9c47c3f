#include <sys/auxv.h>

#include "kernels/cpu_features.h"

namespace cohort::kernels {

// Bit numbers are those of Linux's <asm/hwcap.h>, spelled out because older headers lack some.
CpuFeatures detect_cpu_features() {
  const unsigned long hwcap = getauxval(AT_HWCAP);
  const unsigned long hwcap2 = getauxval(AT_HWCAP2);
  CpuFeatures f;
  f.dotprod = (hwcap >> 20 & 1) != 0;
  f.i8mm = (hwcap2 >> 13 & 1) != 0;
  f.bf16 = (hwcap2 >> 14 & 1) != 0;
  return f;
}

}  // namespace cohort::kernels
