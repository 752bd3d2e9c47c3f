#include "kernels/isa/isa.h"

namespace cohort::kernels {
namespace {

constexpr IsaEntry kBuilt[] = {
    {&scalar::kKernels, [](const CpuFeatures&) { return true; }},
    {&neon::kKernels, [](const CpuFeatures&) { return true; }},
    {&neon_dotprod::kKernels, [](const CpuFeatures& f) { return f.dotprod; }},
    {&neon_i8mm::kKernels, [](const CpuFeatures& f) { return f.dotprod && f.i8mm; }},
};

}  // namespace

std::span<const IsaEntry> built_isas() { return kBuilt; }

}  // namespace cohort::kernels
