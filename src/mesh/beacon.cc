#include "mesh/beacon.h"

#include "base/bytes.h"
#include "base/check.h"
#include "mesh/refusals.h"

namespace cohort::mesh {
namespace {

constexpr std::string_view kMagic = "cohort-B";
constexpr uint8_t kBeaconVersion = 1;
constexpr uint8_t kHasSecret = 1;
constexpr size_t kIdBytes = 16;
constexpr size_t kBodyBytes = 48;
constexpr size_t kMacBytes = 16;

std::string_view text_of(const std::array<uint8_t, kMacBytes>& mac) {
  return {reinterpret_cast<const char*>(mac.data()), mac.size()};
}

}  // namespace

std::string encode_beacon(const Beacon& beacon, const GroupKeys& keys) {
  std::string bytes(kBodyBytes, '\0');
  char* at = bytes.data();
  kMagic.copy(at, kMagic.size());
  store(at + 8, kBeaconVersion);
  store(at + 9, keys.has_secret ? kHasSecret : uint8_t{0});
  store(at + 10, beacon.mesh_port);
  store(at + 16, keys.namespace_tag);
  store(at + 24, beacon.boot_unix_ms);
  const std::string id = from_hex(beacon.id).value_or("");
  COHORT_CHECK(id.size() == kIdBytes);
  id.copy(at + 32, kIdBytes);
  const auto mac = short_mac(keys.beacon_key, bytes);
  return bytes.append(text_of(mac));
}

Result<Beacon> decode_beacon(std::string_view bytes, const GroupKeys& keys) {
  if (bytes.size() < kBodyBytes + kMacBytes || bytes.size() > kMaxBeaconBytes ||
      !bytes.starts_with(kMagic)) {
    return fail(Code::kInvalidArgument, "its beacon makes no sense");
  }
  const char* at = bytes.data();
  if (load<uint64_t>(at + 16) != keys.namespace_tag)
    return fail(Code::kUnauthorized, "{}", kOtherNamespace);
  const bool has_secret = (load<uint8_t>(at + 9) & kHasSecret) != 0;
  if (has_secret && !keys.has_secret) return fail(Code::kUnauthorized, "{}", kOnlyTheyHaveSecret);
  if (!has_secret && keys.has_secret) return fail(Code::kUnauthorized, "{}", kOnlyWeHaveSecret);
  const std::string_view body = bytes.substr(0, bytes.size() - kMacBytes);
  const auto mac = short_mac(keys.beacon_key, body);
  if (!equal_in_constant_time(text_of(mac), bytes.substr(body.size())))
    return fail(Code::kUnauthorized, "{}", kOtherSecret);
  return Beacon{.id = to_hex(bytes.substr(32, kIdBytes)),
                .boot_unix_ms = load<uint64_t>(at + 24),
                .mesh_port = load<uint16_t>(at + 10)};
}

}  // namespace cohort::mesh
