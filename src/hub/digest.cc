#include "hub/digest.h"

#include <cstdio>
#include <memory>
#include <vector>

#include <openssl/evp.h>

#include "base/bytes.h"

namespace cohort::hub {
namespace {

constexpr size_t kBlockBytes = 1 << 20;

struct Free {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  void operator()(std::FILE* file) const { std::fclose(file); }
};

}  // namespace

Result<std::string> file_digest(const std::filesystem::path& path, DigestKind kind,
                                std::stop_token stop) {
  const std::unique_ptr<std::FILE, Free> file(std::fopen(path.c_str(), "rb"));
  std::error_code error;
  const uintmax_t size = std::filesystem::file_size(path, error);
  if (!file || error) return fail(Code::kNotFound, "cannot read {}", path.string());
  const std::unique_ptr<EVP_MD_CTX, Free> context(EVP_MD_CTX_new());
  EVP_DigestInit_ex(context.get(), kind == DigestKind::kSha256 ? EVP_sha256() : EVP_sha1(),
                    nullptr);
  if (kind == DigestKind::kGitBlob) {
    const std::string header = fmt::format("blob {}", size);
    EVP_DigestUpdate(context.get(), header.c_str(), header.size() + 1);  // with its NUL
  }
  std::vector<unsigned char> block(kBlockBytes);
  while (const size_t got = std::fread(block.data(), 1, block.size(), file.get())) {
    if (stop.stop_requested()) return fail(Code::kCancelled, "cancelled");
    EVP_DigestUpdate(context.get(), block.data(), got);
  }
  if (std::ferror(file.get())) return fail(Code::kDataLoss, "cannot read {}", path.string());
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned digest_size = 0;
  EVP_DigestFinal_ex(context.get(), digest, &digest_size);
  return to_hex({reinterpret_cast<const char*>(digest), digest_size});
}

}  // namespace cohort::hub
