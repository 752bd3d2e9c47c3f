#include "transport/cipher.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include "base/bytes.h"

namespace cohort::transport {
namespace {

constexpr size_t kNonceBytes = 12;

struct FreeContext {
  void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }
};
using Context = std::unique_ptr<EVP_CIPHER_CTX, FreeContext>;

const unsigned char* bytes(const std::byte* data) {
  return reinterpret_cast<const unsigned char*>(data);
}
unsigned char* bytes(std::byte* data) { return reinterpret_cast<unsigned char*>(data); }

std::array<unsigned char, kNonceBytes> nonce_of(uint64_t sequence) {
  std::array<unsigned char, kNonceBytes> nonce{};
  store(nonce.data() + 4, sequence);
  return nonce;
}

}  // namespace

Result<LinkKey> derive_key(const LinkKey& secret, std::span<const std::byte> context) {
  LinkKey key;
  unsigned int size = key.size();
  if (HMAC(EVP_sha256(), secret.data(), static_cast<int>(secret.size()), bytes(context.data()),
           context.size(), bytes(key.data()), &size) == nullptr ||
      size != key.size()) {
    return fail(Code::kInternal, "HMAC-SHA256 failed");
  }
  return key;
}

bool same_key(const LinkKey& a, const LinkKey& b) {
  return CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

Result<void> fill_random(std::span<std::byte> out) {
  if (RAND_bytes(bytes(out.data()), static_cast<int>(out.size())) != 1) {
    return fail(Code::kInternal, "the system's random generator failed");
  }
  return {};
}

struct Cipher::State {
  Context sealing, opening;
};

Cipher::Cipher(std::unique_ptr<State> state) : state_(std::move(state)) {}
Cipher::Cipher(Cipher&&) noexcept = default;
Cipher& Cipher::operator=(Cipher&&) noexcept = default;
Cipher::~Cipher() = default;

Result<Cipher> Cipher::make(const LinkKey& key) {
  auto state = std::make_unique<State>();
  state->sealing.reset(EVP_CIPHER_CTX_new());
  state->opening.reset(EVP_CIPHER_CTX_new());
  if (!state->sealing || !state->opening ||
      EVP_EncryptInit_ex(state->sealing.get(), EVP_aes_256_gcm(), nullptr, bytes(key.data()),
                         nullptr) != 1 ||
      EVP_DecryptInit_ex(state->opening.get(), EVP_aes_256_gcm(), nullptr, bytes(key.data()),
                         nullptr) != 1) {
    return fail(Code::kInternal, "AES-256-GCM is not available from OpenSSL");
  }
  return Cipher(std::move(state));
}

Result<void> Cipher::seal(uint64_t sequence, std::span<const std::byte> clear,
                          std::span<const std::byte> plain, std::byte* out) {
  EVP_CIPHER_CTX* context = state_->sealing.get();
  const auto nonce = nonce_of(sequence);
  int written = 0;
  if (EVP_EncryptInit_ex(context, nullptr, nullptr, nullptr, nonce.data()) != 1 ||
      EVP_EncryptUpdate(context, nullptr, &written, bytes(clear.data()),
                        static_cast<int>(clear.size())) != 1 ||
      EVP_EncryptUpdate(context, bytes(out), &written, bytes(plain.data()),
                        static_cast<int>(plain.size())) != 1 ||
      EVP_EncryptFinal_ex(context, bytes(out) + plain.size(), &written) != 1 ||
      EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_GET_TAG, kTagBytes, out + plain.size()) != 1) {
    return fail(Code::kInternal, "AES-256-GCM failed to seal a message");
  }
  return {};
}

bool Cipher::open(uint64_t sequence, std::span<const std::byte> clear, std::span<std::byte> text,
                  std::span<const std::byte, kTagBytes> tag) {
  EVP_CIPHER_CTX* context = state_->opening.get();
  const auto nonce = nonce_of(sequence);
  std::array<std::byte, kTagBytes> tag_copy;
  std::copy(tag.begin(), tag.end(), tag_copy.begin());
  int written = 0;
  return EVP_DecryptInit_ex(context, nullptr, nullptr, nullptr, nonce.data()) == 1 &&
         EVP_DecryptUpdate(context, nullptr, &written, bytes(clear.data()),
                           static_cast<int>(clear.size())) == 1 &&
         EVP_DecryptUpdate(context, bytes(text.data()), &written, bytes(text.data()),
                           static_cast<int>(text.size())) == 1 &&
         EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_GCM_SET_TAG, kTagBytes, tag_copy.data()) == 1 &&
         EVP_DecryptFinal_ex(context, bytes(text.data()) + text.size(), &written) == 1;
}

}  // namespace cohort::transport
