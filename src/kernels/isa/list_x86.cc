#include "kernels/isa/isa.h"

namespace cohort::kernels {
namespace {

constexpr IsaEntry kBuilt[] = {
    {&scalar::kKernels, [](const CpuFeatures&) { return true; }},
    {&avx2::kKernels, [](const CpuFeatures& f) { return f.avx2; }},
    {&avx2_vnni::kKernels, [](const CpuFeatures& f) { return f.avx_vnni; }},
    {&avx512::kKernels, [](const CpuFeatures& f) { return f.avx512; }},
    {&avx512_vnni::kKernels, [](const CpuFeatures& f) { return f.avx512_vnni; }},
    {&avx512_bf16::kKernels, [](const CpuFeatures& f) { return f.avx512_bf16; }},
    {&amx::kKernels, [](const CpuFeatures& f) { return f.amx; }},
};

}  // namespace

std::span<const IsaEntry> built_isas() { return kBuilt; }

}  // namespace cohort::kernels
