// Included by each isa/*.cc inside its own namespace, after matmul-inl.h: no includes here.

inline uint64_t probe_read(const std::byte* data, size_t size_bytes) {
  constexpr int kLines = 4;
  const int64_t ahead = read_habits().probe_ahead;
  U32 sums[kLines * kParts];
  for (U32& sum : sums) sum = splat(0);
  for (const std::byte* at = data; at < data + size_bytes; at += kLines * kLineBytes) {
    COHORT_UNROLL for (int line = 0; line < kLines; ++line) {
      COHORT_UNROLL for (int part = 0; part < kParts; ++part) {
        U32& sum = sums[line * kParts + part];
        sum = sum ^ load_line(at + line * kLineBytes, part, ahead);
      }
    }
  }
  uint32_t checksum = 0;
  for (const U32& sum : sums) {
    uint32_t words[kLanes];
    std::memcpy(words, &sum, sizeof(words));
    for (uint32_t word : words) checksum ^= word;
  }
  return checksum;
}

// Independent, so that latency does not count, and each from a start of its own, so that none is taken for another.
inline constexpr int kProbeChains = 12;
inline constexpr int kProbeRounds = 8;  // unrolled; `rounds` are a multiple

template <class Math>
double probe_multiply(int64_t rounds) {
  typename Math::Element ones[kLanes];
  for (auto& one : ones) one = typename Math::Element{1};
  const typename Math::Vector a = Math::load_elements(ones);
  F32 sums[kProbeChains];
  COHORT_UNROLL for (int i = 0; i < kProbeChains; ++i) sums[i] = broadcast(static_cast<float>(i));
  for (int64_t round = 0; round < rounds; round += kProbeRounds) {
    COHORT_UNROLL for (int unrolled = 0; unrolled < kProbeRounds; ++unrolled) {
      COHORT_UNROLL for (int i = 0; i < kProbeChains; ++i) sums[i] =
          Math::multiply_add(a, a, sums[i]);
    }
  }
  F32 all = zero();
  COHORT_UNROLL for (int i = 0; i < kProbeChains; ++i) all = all + sums[i];
  const double operations =
      2.0 * kLanes * Math::kColumns * kProbeChains * static_cast<double>(rounds);
  return sum(all) < 0 ? 0 : operations;  // the sums are needed
}

inline double probe_dot_i8(int64_t rounds) {
  const U32 ones = splat(0x01010101);
  const int8_t x[4] = {1, 1, 1, 1};
  U32 sums[kProbeChains];
  COHORT_UNROLL for (int i = 0; i < kProbeChains; ++i) sums[i] = splat(static_cast<uint32_t>(i));
  for (int64_t round = 0; round < rounds; round += kProbeRounds) {
    COHORT_UNROLL for (int unrolled = 0; unrolled < kProbeRounds; ++unrolled) {
      COHORT_UNROLL for (int i = 0; i < kProbeChains; ++i) sums[i] =
          dot_quads<1, 15>(sums[i], &ones, x);
    }
  }
  F32 all = zero();
  COHORT_UNROLL for (int i = 0; i < kProbeChains; ++i) all = all + to_f32(sums[i]);
  const double operations = 2.0 * kLanes * 4 * kProbeChains * static_cast<double>(rounds);
  return sum(all) < 0 ? 0 : operations;
}

template <class FastMath>
inline constexpr ProbeKernels make_probe_kernels() {
  return {probe_read, probe_multiply<F32Math>, probe_multiply<FastMath>, probe_dot_i8};
}
