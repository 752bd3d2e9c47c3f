// What this process takes of the machine.
#pragma once

#include <cstdint>

namespace cohort::runner {

uint64_t resident_bytes();  // 0 when the OS does not say

}  // namespace cohort::runner
