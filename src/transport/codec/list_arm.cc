#include "transport/codec/isa/isa.h"

namespace cohort::transport {

std::span<const Codec* const> available_codecs() {
  static constexpr const Codec* kBoth[] = {&codec::kPlain, &codec::kNeon};  // NEON is always there
  return kBoth;
}

}  // namespace cohort::transport
