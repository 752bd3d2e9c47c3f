#include "mesh/hello.h"

#include <algorithm>

#include "base/bytes.h"
#include "base/json.h"
#include "mesh/refusals.h"

namespace cohort::mesh {
namespace {

std::string signed_bytes(char role, std::string_view binding, std::string_view text) {
  return fmt::format("cohort hello {}{}{}", role, binding, text);
}

std::string printable(std::string name) {
  std::replace_if(
      name.begin(), name.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; }, '?');
  return name;
}

}  // namespace

Result<std::string> encode_hello(const Hello& hello, const Identity& identity, char role,
                                 std::string_view binding) {
  const std::string text = dump_json(to_json(hello));
  COHORT_TRY(const std::string signature, identity.sign(signed_bytes(role, binding, text)));
  return text + signature;
}

Result<Hello> decode_hello(std::string_view bytes, char role, std::string_view binding,
                           std::string_view cluster_namespace) {
  if (bytes.size() <= kSignatureBytes)
    return fail(Code::kInvalidArgument, "its hello is cut short");
  const std::string_view text = bytes.substr(0, bytes.size() - kSignatureBytes);
  const std::string_view signature = bytes.substr(text.size());
  auto parsed = read_json<Hello>(text, 4);
  if (!parsed) return fail_in("its hello makes no sense", std::move(parsed).error());
  Hello& hello = *parsed;
  const std::string public_key = from_hex(hello.public_key).value_or("");
  if (hello.id != id_of_public_key(public_key))
    return fail(Code::kUnauthorized, "its id does not belong to its key");
  if (!verify_signature(public_key, signed_bytes(role, binding, text), signature))
    return fail(Code::kUnauthorized, "it does not hold the key of the id it claims");
  if (hello.cluster_namespace != cluster_namespace)
    return fail(Code::kUnauthorized, "{}", kOtherNamespace);
  if (hello.name.size() > kMaxNameBytes)
    return fail(Code::kInvalidArgument, "its name is too long");
  hello.name = printable(std::move(hello.name));
  return parsed;
}

std::string short_name(std::string name) {
  const auto continues = [](char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; };
  if (name.size() <= kMaxNameBytes) return name;
  size_t size = kMaxNameBytes;
  while (size > 0 && continues(name[size])) --size;
  name.resize(size);
  return name;
}

Result<uint32_t> agree_on_version(const Hello& ours, const Hello& theirs) {
  const uint32_t version = std::min(ours.max_version, theirs.max_version);
  if (version >= std::max(ours.min_version, theirs.min_version)) return version;
  return fail(Code::kUnsupported,
              "it speaks versions {} to {} of the protocol, we {} to {}; update the older one",
              theirs.min_version, theirs.max_version, ours.min_version, ours.max_version);
}

}  // namespace cohort::mesh
