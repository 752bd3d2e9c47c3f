#include "transport/codec/isa/isa.h"

namespace cohort::transport {

std::span<const Codec* const> available_codecs() {
  static constexpr const Codec* kOne[] = {&codec::kPlain};
  return kOne;
}

}  // namespace cohort::transport
