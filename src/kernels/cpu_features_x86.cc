#include <cpuid.h>

#include <cstdint>

#include "kernels/cpu_features.h"
#include "kernels/tile_permission.h"

namespace cohort::kernels {
namespace {

struct Registers {
  uint32_t eax = 0, ebx = 0, ecx = 0, edx = 0;
};

Registers cpuid(uint32_t leaf, uint32_t subleaf) {
  Registers r;
  __get_cpuid_count(leaf, subleaf, &r.eax, &r.ebx, &r.ecx,
                    &r.edx);  // zeros when the leaf is not there
  return r;
}

// "GenuineIntel"
bool is_intel(const Registers& vendor) {
  return vendor.ebx == 0x756e6547 && vendor.edx == 0x49656e69 && vendor.ecx == 0x6c65746e;
}

// "AuthenticAMD", and the family of Zen 3 and 4.
bool is_amd_family_19h(const Registers& vendor, uint32_t signature) {
  const bool amd = vendor.ebx == 0x68747541 && vendor.edx == 0x69746e65 && vendor.ecx == 0x444d4163;
  const uint32_t base = signature >> 8 & 0xf, extended = signature >> 20 & 0xff;
  return amd && base == 0xf && base + extended == 0x19;
}

constexpr bool has(uint32_t word, int bit) { return (word >> bit & 1) != 0; }

uint64_t saved_state() {
  uint32_t low = 0, high = 0;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low | static_cast<uint64_t>(high) << 32;
}

}  // namespace

CpuFeatures detect_cpu_features() {
  constexpr uint64_t kYmmState = 0x06, kZmmState = 0xe6, kTileState = 0x60000;
  const Registers one = cpuid(1, 0);
  const Registers seven = cpuid(7, 0);
  const Registers seven_one = cpuid(7, 1);
  const bool has_xgetbv = has(one.ecx, 27);
  const uint64_t state = has_xgetbv ? saved_state() : 0;
  const bool fma = has(one.ecx, 12), f16c = has(one.ecx, 29);

  CpuFeatures f;
  f.avx2 = (state & kYmmState) == kYmmState && has(seven.ebx, 5) && fma && f16c;
  f.avx_vnni = f.avx2 && has(seven_one.eax, 4);
  const bool foundation = has(seven.ebx, 16), dq = has(seven.ebx, 17), bw = has(seven.ebx, 30),
             vl = has(seven.ebx, 31);
  f.avx512 = f.avx2 && (state & kZmmState) == kZmmState && foundation && dq && bw && vl;
  f.avx512_vnni = f.avx512 && has(seven.ecx, 11);
  const bool vbmi = has(seven.ecx, 1);
  f.avx512_bf16 = f.avx512_vnni && vbmi && has(seven_one.eax, 5);
  const bool tiles = has(seven.edx, 24), tile_bf16 = has(seven.edx, 22);
  f.amx =
      f.avx512_bf16 && (state & kTileState) == kTileState && tiles && tile_bf16 && request_tiles();
  f.streams_by_itself = is_amd_family_19h(cpuid(0, 0), one.eax);
  f.fetches_near = is_intel(cpuid(0, 0));
  return f;
}

}  // namespace cohort::kernels
