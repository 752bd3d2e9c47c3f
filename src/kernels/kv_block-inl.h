// Included by attention-inl.h: what a KV block's bytes become, and how they are read as floats.

// ---- storing one position ----

// One position's elements go to to[i * step].
inline void store_floats(float* to, int64_t step, const float* from, int dim) {
  for (int i = 0; i < dim; ++i) to[i * step] = from[i];
}

template <bool kBrain>
inline void store_halves(uint16_t* to, int64_t step, const float* from, int dim) {
  const auto narrowed = [&](uint16_t* lanes, int i, int n) {
    const F32 v = load_part(from + i, n);
    kBrain ? store_bf16_part(lanes, v, n) : store_f16_part(lanes, v, n);
  };
  for (int i = 0; i < dim; i += kLanes) {
    const int n = dim - i < kLanes ? dim - i : kLanes;
    if (step == 1) {
      narrowed(to + i, i, n);
      continue;
    }
    uint16_t lanes[kLanes];
    narrowed(lanes, i, n);
    for (int k = 0; k < n; ++k) to[(i + k) * step] = lanes[k];
  }
}

// A bf16 scale not below greatest / 127, so that no code leaves [-127, 127].
inline uint16_t q8_scale(float greatest) {
  uint32_t bits;
  const float exact = greatest / 127.0f;
  __builtin_memcpy(&bits, &exact, sizeof(bits));
  return static_cast<uint16_t>((bits + 0xffff) >> 16);
}

// Elements [first, end): the code of element i goes to codes[at(i)]. Returns their scale.
template <class At>
inline uint16_t store_q8_group(uint8_t* codes, const float* from, int first, int end, At at) {
  float greatest = 0;
  for (int i = first; i < end; ++i) {
    const float size = __builtin_fabsf(from[i]);
    greatest = size > greatest ? size : greatest;
  }
  const uint16_t scale = q8_scale(greatest);
  const uint32_t scale_bits = static_cast<uint32_t>(scale) << 16;
  float widened;
  __builtin_memcpy(&widened, &scale_bits, sizeof(widened));
  const float inverse = widened > 0 ? 1.0f / widened : 0.0f;
  for (int i = first; i < end; ++i) {
    const auto code = static_cast<int>(__builtin_nearbyintf(from[i] * inverse));
    codes[at(i)] = static_cast<uint8_t>(code + kKvCodeOffset);
  }
  return scale;
}

// Plain elements go to the block's [first + i * step].
inline void store_plain(KvFormat format, std::byte* block, int64_t first, int64_t step,
                        const float* from, int dim) {
  auto* halves = reinterpret_cast<uint16_t*>(block) + first;
  if (format == KvFormat::kF32) {
    store_floats(reinterpret_cast<float*>(block) + first, step, from, dim);
  } else if (format == KvFormat::kF16) {
    store_halves<false>(halves, step, from, dim);
  } else {
    store_halves<true>(halves, step, from, dim);
  }
}

inline uint16_t* q8_scales(std::byte* block, int dim) {
  return reinterpret_cast<uint16_t*>(block + kv_codes_bytes(KvFormat::kQ8, dim));
}

inline void store_q8_key(std::byte* block, int slot, const float* key, int dim) {
  uint16_t* scales = q8_scales(block, dim) + slot;
  for (int d = 0; d < dim; d += kKvQuantGroup, scales += kKvBlockTokens) {
    const int end = d + kKvQuantGroup < dim ? d + kKvQuantGroup : dim;
    *scales = store_q8_group(reinterpret_cast<uint8_t*>(block), key, d, end,
                             [&](int i) { return q8_key_at(i, slot); });
  }
}

inline void store_q8_value(std::byte* block, int slot, const float* value, int dim) {
  q8_scales(block, dim)[slot] = store_q8_group(reinterpret_cast<uint8_t*>(block), value, 0, dim,
                                               [&](int i) { return q8_value_at(slot, i, dim); });
}

inline void store_key(KvFormat format, std::byte* block, int slot, const float* key, int dim) {
  if (format == KvFormat::kQ8) return store_q8_key(block, slot, key, dim);
  store_plain(format, block, slot, kKvBlockTokens, key, dim);
}

inline void store_value(KvFormat format, std::byte* block, int slot, const float* value, int dim) {
  if (format == KvFormat::kQ8) return store_q8_value(block, slot, value, dim);
  store_plain(format, block, int64_t{slot} * dim, 1, value, dim);
}

// ---- reading plain elements ----
//
// A reader gives vectors of a block's elements as floats.

struct F32Block {
  const float* data;
  F32 at(int64_t i) const { return load(data + i); }
  F32 part(int64_t i, int n) const { return load_part(data + i, n); }
};

struct F16Block {
  const uint16_t* data;
  F32 at(int64_t i) const { return load_f16(data + i); }
  F32 part(int64_t i, int n) const { return load_f16_part(data + i, n); }
};

struct BF16Block {
  const uint16_t* data;
  F32 at(int64_t i) const { return load_bf16(data + i); }
  F32 part(int64_t i, int n) const { return load_bf16_part(data + i, n); }
};

template <class Block>
inline void widen_plain(const Block& block, int64_t size, float* to) {
  for_each_vector(
      size, [&](int64_t i) { store(to + i, block.at(i)); },
      [&](int64_t i, int n) { store_part(to + i, block.part(i, n), n); });
}

// ---- reading 8 bits ----

struct Q8Block {
  const std::byte* codes;
  const uint16_t* scales;

  // Codes of a position's quad of dims, or of a column's quad of positions, a lane each.
  U32 quads(int64_t at) const { return load_u32(codes + at); }
  U32 quads_part(int64_t at, int n) const {
    alignas(64) std::byte lanes[4 * kLanes] = {};
    std::memcpy(lanes, codes + at, 4 * static_cast<size_t>(n));
    return load_u32(lanes);
  }
  F32 key_scales(int group, int slot) const {
    return load_bf16(scales + group * kKvBlockTokens + slot);
  }
  F32 value_scales(int slot, int end) const {  // 0 from `end` on
    if (end - slot >= kLanes) return load_bf16(scales + slot);
    return load_bf16_part(scales + slot, end > slot ? end - slot : 0);
  }
  float value_scale(int slot) const { return bf16_to_float(scales[slot]); }
};

inline Q8Block q8_block(const std::byte* block, int dim) {
  const std::byte* scales = block + kv_codes_bytes(KvFormat::kQ8, dim);
  return {block, reinterpret_cast<const uint16_t*>(scales)};
}

inline U32 signed_codes(U32 quads) { return quads ^ splat(0x80808080); }

// Byte kByte of each lane's quad of signed codes.
template <int kByte>
inline F32 code_of(U32 quads) {
  return to_f32(shift_right_signed<24>(shift_left<24 - 8 * kByte>(quads)));
}

// Calls body.template operator()<b>() for the first `count` of a quad's four bytes.
template <class Body>
inline void for_each_byte(int count, Body body) {
  if (count > 0) body.template operator()<0>();
  if (count > 1) body.template operator()<1>();
  if (count > 2) body.template operator()<2>();
  if (count > 3) body.template operator()<3>();
}

inline void widen_q8_keys(const Q8Block& keys, int dim, float* to) {
  for (int d = 0; d < dim; d += 4) {
    for (int slot = 0; slot < kKvBlockTokens; slot += kLanes) {
      const U32 codes = signed_codes(keys.quads(q8_key_at(d, slot)));
      const F32 by = keys.key_scales(d / kKvQuantGroup, slot);
      for_each_byte(dim - d, [&]<int kByte>() {
        store(to + (d + kByte) * kKvBlockTokens + slot, code_of<kByte>(codes) * by);
      });
    }
  }
}

// Those of the slots [0, end).
inline void widen_q8_values(const Q8Block& values, int dim, int end, float* to) {
  for (int t = 0; t < end; t += 4) {
    const auto widen = [&](int64_t c, U32 quads, auto put) {
      const U32 codes = signed_codes(quads);
      for_each_byte(end - t, [&]<int kByte>() {
        const F32 scale = broadcast(values.value_scale(t + kByte));
        put(to + int64_t{t + kByte} * dim + c, code_of<kByte>(codes) * scale);
      });
    };
    for_each_vector(
        dim,
        [&](int64_t c) {
          widen(c, values.quads(q8_value_at(t, static_cast<int>(c), dim)),
                [](float* at, F32 v) { store(at, v); });
        },
        [&](int64_t c, int n) {
          widen(c, values.quads_part(q8_value_at(t, static_cast<int>(c), dim), n),
                [n](float* at, F32 v) { store_part(at, v, n); });
        });
  }
}

// ---- any format ----

template <class Body>
inline void with_plain_reader(KvFormat format, const std::byte* block, Body body) {
  const auto* halves = reinterpret_cast<const uint16_t*>(block);
  if (format == KvFormat::kF32) return body(F32Block{reinterpret_cast<const float*>(block)});
  if (format == KvFormat::kF16) return body(F16Block{halves});
  body(BF16Block{halves});
}

inline void widen_keys(KvFormat format, const std::byte* keys, int dim, int first_dims, float* to) {
  if (format == KvFormat::kQ8) return widen_q8_keys(q8_block(keys, dim), first_dims, to);
  with_plain_reader(format, keys, [&](const auto& block) {
    widen_plain(block, int64_t{first_dims} * kKvBlockTokens, to);
  });
}

inline void widen_values(KvFormat format, const std::byte* values, int dim, int end, float* to) {
  if (format == KvFormat::kQ8) return widen_q8_values(q8_block(values, dim), dim, end, to);
  with_plain_reader(format, values,
                    [&](const auto& block) { widen_plain(block, int64_t{dim} * end, to); });
}

inline void transpose_keys(const float* keys, int dim, int end, float* values) {
  for (int t = 0; t < end; ++t) {
    for (int d = 0; d < dim; ++d) values[t * dim + d] = keys[d * kKvBlockTokens + t];
  }
}
