#include "mesh/group_keys.h"

#include <algorithm>
#include <cstring>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include "base/bytes.h"
#include "base/check.h"

namespace cohort::mesh {
namespace {

constexpr int kStretchRounds = 100'000;  // of PBKDF2-HMAC-SHA256; part of the protocol

Key32 hmac(const Key32& key, std::string_view bytes) {
  Key32 mac;
  unsigned size = mac.size();
  HMAC(EVP_sha256(), key.data(), key.size(), reinterpret_cast<const unsigned char*>(bytes.data()),
       bytes.size(), mac.data(), &size);
  return mac;
}

}  // namespace

GroupKeys derive_group_keys(std::string_view cluster_namespace, std::string_view secret) {
  const std::string salt = fmt::format("cohort namespace {}", cluster_namespace);
  Key32 root;
  const int made = PKCS5_PBKDF2_HMAC(
      secret.data(), static_cast<int>(secret.size()),
      reinterpret_cast<const unsigned char*>(salt.data()), static_cast<int>(salt.size()),
      secret.empty() ? 1 : kStretchRounds, EVP_sha256(), root.size(), root.data());
  COHORT_CHECK(made == 1);
  unsigned char digest[EVP_MAX_MD_SIZE];
  EVP_Digest(salt.data(), salt.size(), digest, nullptr, EVP_sha256(), nullptr);
  const GroupKeys keys = {.link_key = hmac(root, "link"),
                          .beacon_key = hmac(root, "beacon"),
                          .namespace_tag = load<uint64_t>(digest),
                          .has_secret = !secret.empty()};
  OPENSSL_cleanse(root.data(), root.size());
  return keys;
}

std::array<uint8_t, 16> short_mac(const Key32& key, std::string_view bytes) {
  const Key32 mac = hmac(key, bytes);
  std::array<uint8_t, 16> head;
  std::copy_n(mac.begin(), head.size(), head.begin());
  return head;
}

bool equal_in_constant_time(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

std::string random_bytes(size_t size) {
  std::string bytes(size, '\0');
  COHORT_CHECK(RAND_bytes(reinterpret_cast<unsigned char*>(bytes.data()), static_cast<int>(size)) ==
               1);
  return bytes;
}

}  // namespace cohort::mesh
