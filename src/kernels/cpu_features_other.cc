#include "kernels/cpu_features.h"

namespace cohort::kernels {

CpuFeatures detect_cpu_features() { return {}; }

}  // namespace cohort::kernels
