#include "transport/verbs/offer.h"

#include <algorithm>
#include <bit>

#include "base/bytes.h"

namespace cohort::transport {
namespace {

constexpr size_t kHeadBytes = 8;
constexpr size_t kRulesBytes = 8;
constexpr size_t kMaxAttempts = 16;

int common_bits(const RailAddress& a, const RailAddress& b) {
  int bits = 0;
  for (size_t i = 0; i < a.gid.size(); ++i) {
    const auto differing = static_cast<uint8_t>(a.gid[i] ^ b.gid[i]);
    bits += std::countl_zero(differing);
    if (differing != 0) break;
  }
  return bits;
}

Result<FrameRules> read_rules(std::string_view bytes) {
  if (bytes.size() < kRulesBytes)
    return fail(Code::kDataLoss, "an RDMA offer's rules have {} bytes", bytes.size());
  const FrameRules rules{.frame_bytes = load<uint32_t>(bytes.data()),
                         .window = load<uint32_t>(bytes.data() + 4)};
  if (rules.frame_bytes >= FrameRules::kLeastFrameBytes && rules.window >= FrameRules::kLeastWindow)
    return rules;
  return fail(Code::kDataLoss, "an RDMA offer of {} frames of {} bytes", rules.window,
              rules.frame_bytes);
}

}  // namespace

std::string Offer::encode() const {
  std::string bytes(kHeadBytes, '\0');
  store(bytes.data(), session);
  store(bytes.data() + 4, rails);
  for (const RailAddress& port : ports) bytes += port.encode();
  if (ports.empty() || frames == FrameRules()) return bytes;
  store(bytes.data() + 6, static_cast<uint16_t>(ports.size()));
  bytes.resize(bytes.size() + kRulesBytes);
  char* rules = bytes.data() + bytes.size() - kRulesBytes;
  store(rules, frames.frame_bytes);
  store(rules + 4, frames.window);
  return bytes;
}

Result<Offer> Offer::decode(std::string_view bytes) {
  const auto wrong = fail(Code::kDataLoss, "an RDMA offer of {} bytes", bytes.size());
  if (bytes.size() < kHeadBytes) return wrong;
  Offer offer{.session = load<uint32_t>(bytes.data()), .rails = load<uint16_t>(bytes.data() + 4)};
  const size_t counted = load<uint16_t>(bytes.data() + 6) * RailAddress::kBytes;
  bytes.remove_prefix(kHeadBytes);
  const size_t size = counted > 0 ? counted : bytes.size();
  const bool whole = size <= std::min(bytes.size(), kMaxPorts * RailAddress::kBytes) &&
                     size % RailAddress::kBytes == 0;
  if (!whole) return wrong;
  for (size_t at = 0; at < size; at += RailAddress::kBytes) {
    COHORT_TRY(const RailAddress port, RailAddress::decode(bytes.substr(at, RailAddress::kBytes)));
    offer.ports.push_back(port);
  }
  if (counted == 0) return offer;
  COHORT_TRY(offer.frames, read_rules(bytes.substr(size)));
  return offer;
}

bool is_rail_beside(const Offer& dialler, const Offer& dialled, const Match& first,
                    const Match& more) {
  const RailAddress& like = dialler.ports[first.dialler];
  const auto is_like = [&](const RailAddress& port) {
    return port.mbit_per_s == like.mbit_per_s && port.mtu_bytes == like.mtu_bytes;
  };
  return !more.shares_port(first) && is_like(dialled.ports[first.dialled]) &&
         is_like(dialler.ports[more.dialler]) && is_like(dialled.ports[more.dialled]);
}

std::vector<Match> matches_of(const Offer& dialler, const Offer& dialled) {
  std::vector<Match> matches;
  for (size_t a = 0; a < dialler.ports.size(); ++a) {
    for (size_t b = 0; b < dialled.ports.size(); ++b)
      matches.push_back({a, b, common_bits(dialler.ports[a], dialled.ports[b])});
  }
  std::ranges::stable_sort(matches, std::ranges::greater(), &Match::common_bits);
  matches.resize(std::min(matches.size(), kMaxAttempts));
  return matches;
}

}  // namespace cohort::transport
