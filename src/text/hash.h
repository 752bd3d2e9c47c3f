// Hashes for the tables of this module. Not for tables that an attacker may fill: those here are bounded or come from files.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

namespace cohort::text {

inline uint64_t mix(uint64_t a, uint64_t b) {
  const auto product = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

inline uint64_t hash_number(uint64_t value) {
  return mix(value ^ 0x9E3779B97F4A7C15, 0xD6E8FEB86659FD93);
}

inline uint64_t hash_bytes(std::string_view bytes) {
  const char* at = bytes.data();
  size_t left = bytes.size();
  uint64_t hash = 0xA0761D6478BD642F ^ left;
  for (; left >= 8; left -= 8, at += 8) {
    uint64_t word;
    std::memcpy(&word, at, 8);
    hash = mix(hash ^ word, 0xE7037ED1A0B428DB);
  }
  uint64_t tail = 0;
  if (left > 0) std::memcpy(&tail, at, left);
  return mix(hash ^ tail, 0x8EBC6AF09C88C6E3);
}

}  // namespace cohort::text
