// Random numbers without state: each is a function of its place, so a stream that is resumed elsewhere goes on with the
// numbers it would have had.
#pragma once

#include <cstdint>

namespace cohort::engine {

constexpr uint64_t kGoldenGamma = 0x9e3779b97f4a7c15;  // of the SplitMix64 generator

// SplitMix64's output function: a bijection that changes half the bits for each bit of the input.
constexpr uint64_t mix_bits(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

constexpr uint64_t random_bits(uint64_t seed, uint64_t position) {
  return mix_bits(mix_bits(seed + kGoldenGamma) + (position + 1) * kGoldenGamma);
}

// In [0, 1), 53 bits.
constexpr double random_unit(uint64_t seed, uint64_t position) {
  return static_cast<double>(random_bits(seed, position) >> 11) * 0x1p-53;
}

}  // namespace cohort::engine
