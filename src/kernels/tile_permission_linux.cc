#include <sys/syscall.h>
#include <unistd.h>

#include "kernels/tile_permission.h"

namespace cohort::kernels {

// Linux 5.16, Documentation/arch/x86/xstate.rst; numbers as in <asm/prctl.h>, spelled out because older headers lack them.
bool request_tiles() {
  constexpr int kRequestPermission = 0x1023, kTileData = 18;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

}  // namespace cohort::kernels
