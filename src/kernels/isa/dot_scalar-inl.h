inline constexpr int kQuadsAtOnce = 8;
inline constexpr int kByteOffset = 0;
inline constexpr int kDotRowsOfPairs = 16;

template <int kCount, int kMaxCode>
inline U32 dot_quads(U32 start, const U32* quads, const int8_t* x) {
  int32_t total = static_cast<int32_t>(start.v);
  for (int i = 0; i < kCount; ++i) {
    for (int b = 0; b < 4; ++b)
      total += static_cast<int32_t>(quads[i].v >> (8 * b) & 0xff) * x[4 * i + b];
  }
  return {static_cast<uint32_t>(total)};
}

template <int kCount>
inline U32 dot_weights(const U32* quads, const uint8_t* w) {
  int32_t total = 0;
  for (int i = 0; i < kCount; ++i) {
    for (int b = 0; b < 4; ++b) total += static_cast<int8_t>(quads[i].v >> (8 * b)) * w[4 * i + b];
  }
  return {static_cast<uint32_t>(total)};
}
