// Included by avx2.cc, avx512.cc and neon.cc inside their anonymous namespaces, after what they define for one whole group:
//   Vector, kLanes             some float32
//   load(), store(), add()     of one
//   largest(group)             the bits of the largest magnitude: not-a-number ranks above infinity
//   pack_halves(), unpack_halves(), pack_codes(), unpack_codes()
// No includes here. plain.cc is the same in plain C++ and says why each step is as it is.

inline constexpr size_t kVectors = kWireGroup / kLanes;
using Group = Vector[kVectors];

#define COHORT_EACH_VECTOR _Pragma("GCC unroll 8") for (size_t i = 0; i < kVectors; ++i)

struct PlainFloats {
  static constexpr size_t kBytes = kWireGroup * sizeof(float);
  static void decode(const std::byte* from, Group& values) {
    COHORT_EACH_VECTOR { values[i] = load(from + i * sizeof(Vector)); }
  }
};

struct Halves {
  static constexpr size_t kBytes = kWireGroup * sizeof(uint16_t);
  static void encode(const Group& values, std::byte* out) { pack_halves(values, out); }
  static void decode(const std::byte* from, Group& values) { unpack_halves(from, values); }
};

struct Codes {
  static constexpr size_t kBytes = sizeof(float) + kWireGroup;

  static void encode(const Group& values, std::byte* out) {
    constexpr uint32_t kNotANumber = 0x7fc00000;
    const uint32_t bits = largest(values);
    float most = 0;
    std::memcpy(&most, &bits, sizeof(most));
    const float scale = most / 127.0f;
    if (__builtin_isfinite(scale)) {
      std::memcpy(out, &scale, sizeof(scale));
      pack_codes(values, scale >= 0x1p-126f ? 1.0f / scale : 0.0f, out + sizeof(scale));
    } else {
      std::memcpy(out, &kNotANumber, sizeof(kNotANumber));
      std::memset(out + sizeof(kNotANumber), 1, kWireGroup);
    }
  }

  static void decode(const std::byte* from, Group& values) {
    float scale = 0;
    std::memcpy(&scale, from, sizeof(scale));
    unpack_codes(from + sizeof(scale), scale, values);
  }
};

void copy(const float* values, size_t groups, std::byte* out) {
  std::memcpy(out, values, groups * PlainFloats::kBytes);
}

template <class Format>
void encode(const float* values, size_t groups, std::byte* out) {
  for (size_t g = 0; g < groups; ++g) {
    Group group;
    PlainFloats::decode(reinterpret_cast<const std::byte*>(values + g * kWireGroup), group);
    Format::encode(group, out + g * Format::kBytes);
  }
}

template <class Format>
void add(const std::byte* const* parts, size_t part_count, size_t groups, float* sums) {
  for (size_t g = 0; g < groups; ++g) {
    Group sum, part;
    Format::decode(parts[0] + g * Format::kBytes, sum);
    for (size_t p = 1; p < part_count; ++p) {
      Format::decode(parts[p] + g * Format::kBytes, part);
      COHORT_EACH_VECTOR { sum[i] = add(sum[i], part[i]); }
    }
    COHORT_EACH_VECTOR { store(sums + g * kWireGroup + i * kLanes, sum[i]); }
  }
}

#undef COHORT_EACH_VECTOR

inline constexpr Codec make_codec(const char* name) {
  return {name, {copy, encode<Halves>, encode<Codes>}, {add<PlainFloats>, add<Halves>, add<Codes>}};
}
