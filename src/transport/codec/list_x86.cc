#include <array>

#include "transport/codec/isa/isa.h"

namespace cohort::transport {
namespace {

struct Available {
  std::array<const Codec*, 3> tables{&codec::kPlain};
  size_t count = 1;
};

Available probe() {
  Available available;
  const auto add = [&](const Codec& table) { available.tables[available.count++] = &table; };
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (__builtin_cpu_supports("avx2")) add(codec::kAvx2);
  if (avx512) add(codec::kAvx512);
  return available;
}

}  // namespace

std::span<const Codec* const> available_codecs() {
  static const Available once = probe();
  return {once.tables.data(), once.count};
}

}  // namespace cohort::transport
