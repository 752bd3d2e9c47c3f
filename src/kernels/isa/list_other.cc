#include "kernels/isa/isa.h"

namespace cohort::kernels {
namespace {

constexpr IsaEntry kBuilt[] = {{&scalar::kKernels, [](const CpuFeatures&) { return true; }}};

}  // namespace

std::span<const IsaEntry> built_isas() { return kBuilt; }

}  // namespace cohort::kernels
