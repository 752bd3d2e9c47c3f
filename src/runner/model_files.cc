#include "runner/model_files.h"

#include <filesystem>
#include <fstream>
#include <span>

#include "assets/assets.h"
#include "base/bytes.h"

namespace cohort::runner {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxTokenizerBytes = 256u << 20;  // the largest known are 33 MB
constexpr uint64_t kMaxConfigBytes = 16u << 20;

struct Entry {
  const char* name;
  std::string ModelFiles::*contents;
  uint64_t max_bytes;
};
constexpr Entry kEntries[] = {
    {"tokenizer.json", &ModelFiles::tokenizer, kMaxTokenizerBytes},
    {"tokenizer_config.json", &ModelFiles::tokenizer_config, kMaxConfigBytes},
    {"chat_template.jinja", &ModelFiles::chat_template, kMaxConfigBytes},
    {"generation_config.json", &ModelFiles::generation_config, kMaxConfigBytes},
};

std::string asset_name(std::string_view file) { return fmt::format("{}/{}", kDemoModel, file); }

Result<std::string_view> demo_file(std::string_view name) {
  const auto contents = assets::find(asset_name(name));
  if (!contents) return fail(Code::kInternal, "the built-in model lacks {}", name);
  return *contents;
}

Result<std::string> read_file(const fs::path& path, uint64_t max_bytes) {
  std::error_code error;
  const uint64_t size = fs::file_size(path, error);
  if (error) return std::string();  // absent
  if (size > max_bytes) {
    return fail(Code::kTooLarge, "{} has {}; at most {} are read", path.string(),
                format_bytes(size), format_bytes(max_bytes));
  }
  std::string contents(size, '\0');
  std::ifstream file(path, std::ios::binary);
  if (!file.read(contents.data(), static_cast<std::streamsize>(size))) {
    return fail(Code::kUnavailable, "cannot read {}", path.string());
  }
  return contents;
}

}  // namespace

Result<ModelFiles> read_model_files(const std::string& model) {
  ModelFiles files;
  if (model == kDemoModel) {
    for (const Entry& entry : kEntries) {
      files.*entry.contents = assets::find(asset_name(entry.name)).value_or("");
    }
    return files;
  }
  const fs::path path(model);
  const fs::path folder = fs::is_directory(path) ? path : path.parent_path();
  for (const Entry& entry : kEntries) {
    COHORT_TRY(files.*entry.contents, read_file(folder / entry.name, entry.max_bytes));
  }
  return files;
}

Result<formats::Checkpoint> open_checkpoint(const std::string& model) {
  if (model != kDemoModel) return formats::Checkpoint::open(model);
  COHORT_TRY(const std::string_view config, demo_file("config.json"));
  COHORT_TRY(const std::string_view weights, demo_file("model.safetensors"));
  return formats::Checkpoint::from_memory(config, {std::as_bytes(std::span(weights))});
}

Result<int32_t> layers_of(const formats::Checkpoint& checkpoint) {
  const auto layers = checkpoint.config().find("num_hidden_layers");
  if (layers != checkpoint.config().end() && layers->is_number_integer()) {
    return from_json<int32_t>(*layers);
  }
  return fail(Code::kInvalidArgument, "config.json: num_hidden_layers is missing");
}

}  // namespace cohort::runner
