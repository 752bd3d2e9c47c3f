#include "base/check.h"

#include <cstdio>
#include <cstdlib>

namespace cohort {

void check_failed(const char* condition, const char* file, int line) {
  std::fprintf(stderr, "cohort: %s:%d: check failed: %s (this is a bug; please report it)\n", file,
               line, condition);
  std::abort();
}

}  // namespace cohort
