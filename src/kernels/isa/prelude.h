// What the *-inl.h files need from outside. They hold no includes themselves, since they are included inside a namespace.
//
// An isa/*.cc is compiled for instructions that not every machine has, so it must not emit any function that the linker
// may merge with other files' copies: inline functions and templates of shared headers. Hence everything lives in an
// anonymous namespace, these files are always optimised (which inlines the few tiny helpers of the standard library), and
// the test isa_objects_share_nothing looks at their symbols.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/matmul.h"
#include "tensor/dtype.h"

// Unrolls the loop that follows whole, so that arrays indexed by its counter live in registers.
#ifndef COHORT_UNROLL
#define COHORT_UNROLL _Pragma("GCC unroll 32")
#endif
