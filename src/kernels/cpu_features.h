// What the CPU and its operating system can run. Only facts that choose a table of kernels.
#pragma once

namespace cohort::kernels {

struct CpuFeatures {
  // x86-64; a register set counts only when the operating system saves it
  bool avx2 = false;  // with FMA and F16C
  bool avx_vnni = false;
  bool avx512 = false;  // F, BW, DQ, VL
  bool avx512_vnni = false;
  bool avx512_bf16 = false;  // with VNNI and VBMI
  bool amx = false;          // tiles of bf16, with all of the above
  // Its own prefetchers keep up with one stream, and instructions to prefetch get in their way: AMD's Zen 3 and 4.
  bool streams_by_itself = false;
  // Instructions to prefetch do harm when they reach far, and one stream is less than the memory gives: Intel's.
  bool fetches_near = false;
  // AArch64; NEON is always there
  bool dotprod = false;
  bool i8mm = false;
  bool bf16 = false;
};

CpuFeatures detect_cpu_features();

}  // namespace cohort::kernels
