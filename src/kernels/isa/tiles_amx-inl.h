// The registers of AMX (Intel's Software Developer's Manual, volume 1, chapter 18), as gemm_amx-inl.h takes them. They are
// the thread's own, and released after use, for a thread that holds them is dearer to switch.
//
// In assembler, for g++ 12's intrinsics want the numbers of registers as text and do not say that they touch memory.

struct alignas(64) AmxConfig {
  uint8_t palette = 1;
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t row_bytes[16] = {};
  uint8_t rows[16] = {};
};

inline void configure_amx(const AmxConfig& config) {
  __asm__ volatile("ldtilecfg %0" ::"m"(config));
}

struct AmxTiles {
  static void configure() {
    AmxConfig config;
    for (int tile = 0; tile < 8; ++tile) {
      config.row_bytes[tile] = 64;
      config.rows[tile] = 16;
    }
    configure_amx(config);
  }
  static void release() { __asm__ volatile("tilerelease"); }

  template <int kTile>
  static void zero() {
    __asm__ volatile("tilezero %%tmm%c0" ::"i"(kTile));
  }
  template <int kTile>
  static void load(const void* from, int64_t stride_bytes) {
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm%c2" ::"r"(from), "r"(stride_bytes), "i"(kTile)
                     : "memory");
  }
  template <int kTile>
  static void store(void* to, int64_t stride_bytes) {
    __asm__ volatile("tilestored %%tmm%c2, (%0,%1,1)" ::"r"(to), "r"(stride_bytes), "i"(kTile)
                     : "memory");
  }
  // sums += a * b, of pairs of bf16 summed in float.
  template <int kSums, int kA, int kB>
  static void dot_bf16() {
    __asm__ volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" ::"i"(kSums), "i"(kA), "i"(kB));
  }
};
