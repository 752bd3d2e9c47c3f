// How exactly a backend computes.
#pragma once

#include <cstdint>

namespace cohort::backend {

enum class Math : uint8_t {
  kF32,   // float32 throughout: what goldens are compared with
  kFast,  // the machine's dot instructions: activations rounded to int8 (a few rows) or bf16 (many) on their way
  kInt8,  // as kFast, but int8 for many rows, too, of weights in 2 to 8 bits: prompts read faster, a little less exactly
};

}  // namespace cohort::backend
