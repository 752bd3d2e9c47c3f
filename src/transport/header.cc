#include "transport/header.h"

#include "base/bytes.h"

namespace cohort::transport {

std::string_view kind_name(Kind kind) {
  switch (kind) {
    case Kind::kAllSum: return "all_sum";
    case Kind::kAllGather: return "all_gather";
    case Kind::kBroadcast: return "broadcast";
    case Kind::kPoint: return "send";
    case Kind::kBarrier: return "barrier";
    case Kind::kKeyProof: return "key proof";
    case Kind::kLeave: return "leave";
    case Kind::kAbort: return "abort";
    case Kind::kAgree: return "agree";
  }
  return "unknown";
}

void write_header(const Header& header, std::span<std::byte, Header::kBytes> out) {
  store(out.data(), header.sequence);
  store(out.data() + 8, header.total);
  store(out.data() + 16, header.length);
  store(out.data() + 20, static_cast<uint16_t>(header.kind));
  store(out.data() + 22, uint16_t{0});
}

Result<Header> read_header(std::span<const std::byte, Header::kBytes> bytes, uint64_t expected,
                           std::string_view peer) {
  const auto kind = load<uint16_t>(bytes.data() + 20);
  const Header header{.sequence = load<uint64_t>(bytes.data()),
                      .total = load<uint64_t>(bytes.data() + 8),
                      .length = load<uint32_t>(bytes.data() + 16),
                      .kind = static_cast<Kind>(kind)};
  if (header.sequence != expected) {
    return fail(Code::kDataLoss, "{}: message {} came where {} was due", peer, header.sequence,
                expected);
  }
  const bool known =
      kind >= static_cast<uint16_t>(Kind::kAllSum) && kind <= static_cast<uint16_t>(Kind::kAgree);
  if (!known || load<uint16_t>(bytes.data() + 22) != 0) {
    return fail(Code::kDataLoss, "{}: message {} is of an unknown kind", peer, header.sequence);
  }
  if (header.length > kMaxMessageBytes || header.length > header.total) {
    return fail(Code::kDataLoss,
                "{}: message {} claims {} bytes of a transfer of {}; a message has at most {}",
                peer, header.sequence, header.length, header.total, kMaxMessageBytes);
  }
  return header;
}

}  // namespace cohort::transport
