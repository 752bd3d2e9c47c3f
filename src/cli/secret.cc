#include "cli/secret.h"

#include <fstream>
#include <random>

#include "base/files.h"
#include "base/json.h"
#include "cli/commands.h"
#include "cli/config_file.h"
#include "cli/terminal.h"

namespace cohort::cli {
namespace {

namespace fs = std::filesystem;

Result<void> check_secret(const std::string& secret) {
  if (secret.size() >= kMinSecretLength && secret.size() <= kMaxSecretLength) return {};
  return fail(Code::kInvalidArgument,
              "a secret has {} to {} characters, this one {}; 'cohort secret new' makes one",
              kMinSecretLength, kMaxSecretLength, secret.size());
}

}  // namespace

fs::path default_secret_file() { return config_dir() / "secret"; }

Result<std::string> read_secret(const fs::path& given) {
  const fs::path path = given.empty() ? default_secret_file() : given;
  std::ifstream file(path);
  if (!file && given.empty()) return std::string();
  if (!file) return fail(Code::kInvalidArgument, "cannot read the secret in {}", path.string());
  std::string secret;
  std::getline(file, secret);
  COHORT_TRY_VOID(check_secret(secret));
  return secret;
}

Result<void> write_secret(const std::string& secret) {
  COHORT_TRY_VOID(check_secret(secret));
  return write_file(default_secret_file(), secret + "\n", 0600);
}

std::string new_secret() {
  constexpr std::string_view kLetters =
      "abcdefghijkmnpqrstuvwxyz23456789";  // none that looks like another
  std::random_device random;
  std::string secret;
  for (int i = 0; i < 25; ++i) {
    if (i > 0 && i % 5 == 0) secret += '-';
    secret += kLetters[random() % kLetters.size()];
  }
  return secret;
}

int secret(const Common& common, const std::string& action, const std::string& value) {
  if (action == "show") {
    const Result<std::string> kept = read_secret({});
    if (!kept) return report(kept.error());
    if (common.json) {
      fmt::print("{}\n", dump_json(Json{{"secret", kept->empty() ? Json(nullptr) : Json(*kept)}}));
    } else {
      fmt::print("{}\n", kept->empty() ? "no secret is set; 'cohort secret new' makes one" : *kept);
    }
    return kExitFine;
  }
  if (action == "set" && value.empty())
    return report({Code::kInvalidArgument, "give the secret: cohort secret set SECRET"});
  const std::string chosen = action == "set" ? value : new_secret();
  if (const Result<void> written = write_secret(chosen); !written) return report(written.error());
  if (common.json) {
    fmt::print("{}\n",
               dump_json(Json{{"secret", chosen}, {"file", default_secret_file().string()}}));
  } else {
    fmt::print("{}\n", chosen);
    fmt::print(
        stderr,
        "kept in {}; run 'cohort secret set' with it on each other device, then start them anew\n",
        default_secret_file().string());
  }
  return kExitFine;
}

}  // namespace cohort::cli
