// AArch64 with products of 2 x 8 by 8 x 2 bytes (FEAT_I8MM), twice the products of a dotprod instruction, for gemm_i8-inl.h.
// Lines of weights hold eight columns of two rows side by side, and so do packed activations.

struct BlockDots {
  static constexpr int kStepQuads = 2;

  static void place(const U32* quads, int part, std::byte* lines) {
    std::byte* at = lines + part * 2 * kLanes * 4;
    store_line(at, {vzip1q_u32(quads[0].v, quads[1].v)});
    store_line(at + kLanes * 4, {vzip2q_u32(quads[0].v, quads[1].v)});
  }

  template <int kRows, int kQuads>
  static void multiply(const std::byte* a, const std::byte* weights,
                       U32 (&dots)[kRows][kByteVectors]) {
    constexpr int kPairs = (kRows + 1) / 2;    // of activations: past an odd last one, anything
    constexpr int kBlocks = 2 * kByteVectors;  // of two rows of weights
    int32x4_t sums[kPairs][kBlocks];           // [row of weights][row of activations]
    COHORT_UNROLL for (int pair = 0; pair < kPairs; ++pair) {
      COHORT_UNROLL for (int b = 0; b < kBlocks; ++b) sums[pair][b] = vdupq_n_s32(0);
    }
    COHORT_UNROLL for (int step = 0; step < kQuads / 2; ++step) {
      int8x16_t x[kPairs];
      COHORT_UNROLL for (int pair = 0; pair < kPairs; ++pair) {
        x[pair] = vld1q_s8(reinterpret_cast<const int8_t*>(a) + (step * kRows + 2 * pair) * 8);
      }
      COHORT_UNROLL for (int b = 0; b < kBlocks; ++b) {
        const int8x16_t w =
            vld1q_s8(reinterpret_cast<const int8_t*>(weights) + (step * kBlocks + b) * 16);
        COHORT_UNROLL for (int pair = 0; pair < kPairs; ++pair) {
          sums[pair][b] = vmmlaq_s32(sums[pair][b], w, x[pair]);
        }
      }
    }
    COHORT_UNROLL for (int i = 0; i < kRows; ++i) {
      COHORT_UNROLL for (int v = 0; v < kByteVectors; ++v) {
        const int32x4_t low = sums[i / 2][2 * v], high = sums[i / 2][2 * v + 1];
        dots[i][v] = {
            vreinterpretq_u32_s32(i % 2 == 0 ? vuzp1q_s32(low, high) : vuzp2q_s32(low, high))};
      }
    }
  }
};
