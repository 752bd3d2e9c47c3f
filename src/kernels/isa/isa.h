// The tables that were built, which depends on the processor family: isa/list_<family>.cc has the list.
#pragma once

#include <span>

#include "kernels/cpu_features.h"
#include "kernels/kernels.h"

namespace cohort::kernels {

struct IsaEntry {
  const Kernels* kernels;
  bool (*runs_on)(const CpuFeatures& features);
};

std::span<const IsaEntry> built_isas();  // slowest first

// Each defined in isa/<name>.cc, where its namespace is compiled with the flags src/kernels/CMakeLists.txt gives it.
namespace scalar {
extern const Kernels kKernels;
}
namespace avx2 {
extern const Kernels kKernels;
}
namespace avx2_vnni {
extern const Kernels kKernels;
}
namespace avx512 {
extern const Kernels kKernels;
}
namespace avx512_vnni {
extern const Kernels kKernels;
}
namespace avx512_bf16 {
extern const Kernels kKernels;
}
namespace amx {
extern const Kernels kKernels;
}
namespace neon {
extern const Kernels kKernels;
}
namespace neon_dotprod {
extern const Kernels kKernels;
}
namespace neon_i8mm {
extern const Kernels kKernels;
}

}  // namespace cohort::kernels
