// What two devices tell each other when a connection has become secret: who they are and which versions they speak.
// Values and their bytes; no I/O. All of it is laid out in docs/mesh-protocol.md.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"
#include "mesh/identity.h"

namespace cohort::mesh {

// A change that older releases cannot read raises kMaxVersion; kMinVersion follows a release later.
inline constexpr uint32_t kMinVersion = 1;
inline constexpr uint32_t kMaxVersion = 1;

struct Hello {
  uint32_t min_version = kMinVersion;
  uint32_t max_version = kMaxVersion;
  std::string id;
  std::string public_key;  // hexadecimal
  std::string name;
  std::string cluster_namespace;
  uint64_t boot_unix_ms = 0;
  uint16_t mesh_port = 0;
  bool replaces = false;  // this connection is a better path than the link there is

  template <class Visitor>
  void fields(Visitor& visit) {
    visit("min_version", min_version);
    visit("max_version", max_version);
    visit("id", id);
    visit("public_key", public_key);
    visit("name", name);
    visit("namespace", cluster_namespace);
    visit("boot_unix_ms", boot_unix_ms);
    visit("mesh_port", mesh_port);
    visit("replaces", replaces);
  }
};

inline constexpr size_t kMaxHelloBytes = 4096;
inline constexpr size_t kSignatureBytes = 64;
inline constexpr size_t kMaxNameBytes = 128;

// The text, and behind it the signature over the channel's binding, the sender's role ('d' or 'l') and the text.
Result<std::string> encode_hello(const Hello& hello, const Identity& identity, char role,
                                 std::string_view binding);
// Checks id, key, signature and namespace; names are made printable. Versions are for agree_on_version().
Result<Hello> decode_hello(std::string_view bytes, char role, std::string_view binding,
                           std::string_view cluster_namespace);

// At most kMaxNameBytes of it, no character cut in two.
std::string short_name(std::string name);

// The highest version that both speak. kUnsupported names both ranges.
Result<uint32_t> agree_on_version(const Hello& ours, const Hello& theirs);

}  // namespace cohort::mesh
