#include "hub/options.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace cohort::hub {
namespace {

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

std::string stored_token() {
  std::filesystem::path home = environment("HF_HOME");
  if (home.empty()) home = std::filesystem::path(environment("HOME")) / ".cache/huggingface";
  std::ifstream file(home / "token");
  std::string token;
  file >> token;
  return token;
}

}  // namespace

HubOptions hub_options_from_environment() {
  HubOptions options;
  if (std::string endpoint = environment("HF_ENDPOINT"); !endpoint.empty()) {
    while (endpoint.ends_with('/')) endpoint.pop_back();
    options.endpoint = std::move(endpoint);
  }
  options.token = environment("HF_TOKEN");
  if (options.token.empty()) options.token = stored_token();
  options.ca_file = environment("SSL_CERT_FILE");
  const std::string offline = environment("HF_HUB_OFFLINE");
  options.offline = !offline.empty() && offline != "0" && offline != "false";
  return options;
}

}  // namespace cohort::hub
