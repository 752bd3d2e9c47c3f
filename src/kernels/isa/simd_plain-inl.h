// What AVX-512 has instructions for, of others: by floor(), and lane by lane. Included by their simd_*-inl.h.

inline F32 bounded_floor(F32 a) { return floor(max(a, broadcast(-127.0f))); }
inline F32 fraction(F32 a) { return max(a, broadcast(-127.0f)) - bounded_floor(a); }
inline F32 times_exp2(F32 p, F32 a) { return p * exp2i(bounded_floor(a)); }

inline F32 each_sum(const F32 (&rows)[kLanes]) {
  float lanes[kLanes];
  for (int i = 0; i < kLanes; ++i) lanes[i] = sum(rows[i]);
  return load(lanes);
}
inline F32 each_maximum(const F32 (&rows)[kLanes]) {
  float lanes[kLanes];
  for (int i = 0; i < kLanes; ++i) lanes[i] = maximum(rows[i]);
  return load(lanes);
}
