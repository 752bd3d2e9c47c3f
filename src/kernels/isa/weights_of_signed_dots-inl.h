// dot_weights() where integer dot products multiply signed bytes with signed: weights less 127, and 127 times the quads.
template <int kCount>
inline U32 dot_weights(const U32* quads, const uint8_t* w) {
  int8_t less[4 * kCount], rest[4 * kCount];
  for (int i = 0; i < 4 * kCount; ++i) {
    less[i] = static_cast<int8_t>(w[i] - 127);
    rest[i] = 127;
  }
  return dot_quads<kCount, 255>(dot_quads<kCount, 255>(splat(0), quads, rest), quads, less);
}
