// What only a bug can do: print the place and the values, then abort. Always on; DCHECK only without NDEBUG.
#pragma once

namespace cohort {
[[noreturn]] void check_failed(const char* condition, const char* file, int line);
}

#define COHORT_CHECK(condition)                               \
  do {                                                        \
    if (!(condition)) [[unlikely]]                            \
      ::cohort::check_failed(#condition, __FILE__, __LINE__); \
  } while (false)

#ifdef NDEBUG
#define COHORT_DCHECK(condition) \
  do {                           \
  } while (false)
#else
#define COHORT_DCHECK(condition) COHORT_CHECK(condition)
#endif
