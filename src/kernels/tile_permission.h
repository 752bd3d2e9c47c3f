// AMX's registers are large, so an operating system may hand them out on request only.
#pragma once

namespace cohort::kernels {

// Asks for them, for all threads of this process; false when it has none to give.
bool request_tiles();

}  // namespace cohort::kernels
