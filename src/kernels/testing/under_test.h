// The tables of kernels that tests try: those this CPU runs, and imitations of what it does not.
#pragma once

#include <vector>

#include "kernels/kernels.h"

namespace cohort::kernels {

std::vector<const Kernels*> kernels_under_test();

}  // namespace cohort::kernels
