#include "kernels/tile_permission.h"

namespace cohort::kernels {

bool request_tiles() { return false; }

}  // namespace cohort::kernels
