#include "node/model_catalog.h"

#include <filesystem>
#include <system_error>

namespace cohort::node {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kDemoWeightBytes = 6u << 20;

uint64_t safetensors_bytes(const fs::path& folder) {
  uint64_t total = 0;
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    std::error_code ignored;
    if (it->path().extension() == ".safetensors") total += it->file_size(ignored);
  }
  return total;
}

Result<ModelLocation> resolve(const std::string& name) {
  if (name == "demo") {
    return ModelLocation{.name = "demo", .source = "demo", .weight_bytes = kDemoWeightBytes};
  }
  std::error_code error;
  const fs::path folder(name);
  if (fs::is_regular_file(folder / "config.json", error)) {
    return ModelLocation{.name = name, .source = name, .weight_bytes = safetensors_bytes(folder)};
  }
  return fail(Code::kNotFound, "there is no model '{}' on this device", name);
}

}  // namespace

ModelCatalog builtin_catalog() {
  return {.resolve = [](const std::string& name, std::stop_token) { return resolve(name); },
          .list =
              [] {
                return std::vector<ModelListing>{{.name = "demo", .size_bytes = kDemoWeightBytes}};
              }};
}

}  // namespace cohort::node
