// each_sum() and each_maximum() where lanes are few.
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
