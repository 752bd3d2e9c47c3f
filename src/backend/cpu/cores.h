// The cores this process may use.
#pragma once

namespace cohort::backend {

// Physical cores the process is allowed on, at most what its container's quota pays for; at least 1. Where cores are
// unlike, the fast ones.
int usable_cores();

}  // namespace cohort::backend
