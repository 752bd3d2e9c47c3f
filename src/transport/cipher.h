// AES-256-GCM for one direction of a link. The nonce is the message's sequence number, so a key must serve one direction
// of one connection only: derive_key() makes such keys.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "base/result.h"

namespace cohort::transport {

using LinkKey = std::array<std::byte, 32>;

// HMAC-SHA256(secret, context): a fresh key for each context. kInternal when the library fails.
Result<LinkKey> derive_key(const LinkKey& secret, std::span<const std::byte> context);

bool same_key(const LinkKey& a, const LinkKey& b);  // in a time that tells nothing

Result<void> fill_random(std::span<std::byte> out);  // from the system's generator

class Cipher {
 public:
  static constexpr size_t kTagBytes = 16;

  static Result<Cipher> make(const LinkKey& key);
  Cipher(Cipher&&) noexcept;
  Cipher& operator=(Cipher&&) noexcept;
  ~Cipher();

  // Writes plain.size() bytes and then the tag to `out`. `clear` is proven but not hidden. No sequence twice.
  Result<void> seal(uint64_t sequence, std::span<const std::byte> clear,
                    std::span<const std::byte> plain, std::byte* out);

  // Decrypts in place what seal() wrote (without its tag). False: not sealed with this key, sequence and clear part.
  bool open(uint64_t sequence, std::span<const std::byte> clear, std::span<std::byte> text,
            std::span<const std::byte, kTagBytes> tag);

 private:
  struct State;
  explicit Cipher(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace cohort::transport
