#include "base/bytes.h"
#include "mesh/identity.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <optional>
#include <system_error>

#include <openssl/crypto.h>
#include <openssl/evp.h>

namespace cohort::mesh {
namespace {

namespace fs = std::filesystem;

constexpr size_t kKeyBytes = 32;  // of either half of an Ed25519 pair
constexpr size_t kSignatureBytes = 64;
constexpr size_t kIdBytes = 16;

using Key = std::array<unsigned char, kKeyBytes>;
struct FreeContext {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};
using Context = std::unique_ptr<EVP_MD_CTX, FreeContext>;

const unsigned char* bytes_of(std::string_view text) {
  return reinterpret_cast<const unsigned char*>(text.data());
}

// nullopt: there is no such file.
Result<std::optional<Key>> read_key(const std::string& path) {
  const int file = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0 && errno == ENOENT) return std::nullopt;
  if (file < 0) return fail(Code::kUnavailable, "cannot read {}: {}", path, std::strerror(errno));
  std::array<unsigned char, kKeyBytes + 1> bytes;
  const ssize_t size = ::read(file, bytes.data(), bytes.size());
  ::close(file);
  if (size != ssize_t{kKeyBytes}) {
    return fail(Code::kDataLoss, "{} is no device key ({} bytes, not {}); remove it for a new one",
                path, size, kKeyBytes);
  }
  Key key;
  std::copy_n(bytes.begin(), kKeyBytes, key.begin());
  OPENSSL_cleanse(bytes.data(), bytes.size());
  return key;
}

// Under its final name only once it is whole, and never over another's.
Result<void> write_key(const std::string& path, const Key& key) {
  std::error_code error;
  fs::create_directories(fs::path(path).parent_path(), error);
  const std::string temporary = fmt::format("{}.{}", path, ::getpid());
  const int file = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (file < 0)
    return fail(Code::kUnavailable, "cannot write {}: {}", temporary, std::strerror(errno));
  const bool written = ::write(file, key.data(), key.size()) == ssize_t{kKeyBytes} &&
                       ::fchmod(file, 0600) == 0 && ::fsync(file) == 0;
  ::close(file);
  const bool linked = written && (::link(temporary.c_str(), path.c_str()) == 0 || errno == EEXIST);
  const int cause = errno;
  ::unlink(temporary.c_str());
  if (!linked) return fail(Code::kUnavailable, "cannot write {}: {}", path, std::strerror(cause));
  return {};
}

Result<Key> new_key() {
  EVP_PKEY* made = EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519");
  Key key;
  size_t size = key.size();
  const bool fine = made != nullptr && EVP_PKEY_get_raw_private_key(made, key.data(), &size) == 1;
  EVP_PKEY_free(made);
  if (!fine || size != kKeyBytes) return fail(Code::kInternal, "cannot make a device key");
  return key;
}

Result<Key> key_of(const std::string& data_dir) {
  if (data_dir.empty()) return new_key();
  const std::string path = (fs::path(data_dir) / "device-key").string();
  COHORT_TRY(const std::optional<Key> known, read_key(path));
  if (known) return *known;
  COHORT_TRY(const Key key, new_key());
  COHORT_TRY_VOID(write_key(path, key));
  COHORT_TRY(const std::optional<Key> kept, read_key(path));  // another process may have been first
  return kept ? Result<Key>(*kept) : fail(Code::kDataLoss, "{} has vanished", path);
}

}  // namespace

Result<Identity> Identity::load_or_create(const std::string& data_dir) {
  COHORT_TRY(Key key, key_of(data_dir));
  Identity identity;
  identity.key_ = std::shared_ptr<void>(
      EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nullptr, key.data(), key.size()),
      [](void* pointer) { EVP_PKEY_free(static_cast<EVP_PKEY*>(pointer)); });
  OPENSSL_cleanse(key.data(), key.size());
  std::string& public_key = identity.public_key_;
  public_key.resize(kKeyBytes);
  size_t size = public_key.size();
  if (!identity.key_ || EVP_PKEY_get_raw_public_key(
                            static_cast<EVP_PKEY*>(identity.key_.get()),
                            reinterpret_cast<unsigned char*>(public_key.data()), &size) != 1) {
    return fail(Code::kInternal, "cannot use the device key of '{}'", data_dir);
  }
  identity.id_ = id_of_public_key(public_key);
  return identity;
}

Result<std::string> Identity::sign(std::string_view bytes) const {
  const Context context(EVP_MD_CTX_new());
  std::string signature(kSignatureBytes, '\0');
  size_t size = signature.size();
  auto* key = static_cast<EVP_PKEY*>(key_.get());
  if (key == nullptr || EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, key) != 1 ||
      EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(signature.data()), &size,
                     bytes_of(bytes), bytes.size()) != 1) {
    return fail(Code::kInternal, "cannot sign with the device key");
  }
  return signature;
}

std::string id_of_public_key(std::string_view public_key) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  EVP_Digest(public_key.data(), public_key.size(), digest, nullptr, EVP_sha256(), nullptr);
  return to_hex({reinterpret_cast<const char*>(digest), kIdBytes});
}

bool verify_signature(std::string_view public_key, std::string_view bytes,
                      std::string_view signature) {
  if (public_key.size() != kKeyBytes || signature.size() != kSignatureBytes) return false;
  EVP_PKEY* key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, bytes_of(public_key),
                                              public_key.size());
  const Context context(EVP_MD_CTX_new());
  const bool good = key != nullptr &&
                    EVP_DigestVerifyInit(context.get(), nullptr, nullptr, nullptr, key) == 1 &&
                    EVP_DigestVerify(context.get(), bytes_of(signature), signature.size(),
                                     bytes_of(bytes), bytes.size()) == 1;
  EVP_PKEY_free(key);
  return good;
}

}  // namespace cohort::mesh
