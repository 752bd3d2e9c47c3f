// Models on this device's disks: its own folder (<data_dir>/models, one folder a repository), further read-only folders,
// and the hub client's cache (HF_HOME).
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "hub/card.h"

namespace cohort::hub {

struct StoreOptions {
  std::filesystem::path data_dir;                  // empty: default_data_dir()
  std::vector<std::filesystem::path> models_dirs;  // searched after the own one; never written
  bool use_hub_cache = true;                       // also look into HF_HOME
};

// $XDG_DATA_HOME/cohort or ~/.local/share/cohort; on macOS ~/Library/Application Support/cohort.
std::filesystem::path default_data_dir();

struct StoredModel {
  std::string name;              // card name, repository id or folder name
  std::string repository;        // "" for folders
  std::filesystem::path folder;  // empty for the built-in model
  uint64_t size_bytes = 0;
  bool complete = true;    // false: a download is unfinished
  bool removable = false;  // in the own folder
  Card card;
};

inline constexpr std::string_view kBuiltInModel = "demo";

// What a user's MODEL means, without looking at any disk.
struct ModelName {
  enum class Kind { kBuiltIn, kPath, kRepository };
  Kind kind = Kind::kRepository;
  std::string repository;      // kRepository: "owner/name", from a card's short name or as given
  std::filesystem::path path;  // kPath
};
// kNotFound suggests the nearest card names.
Result<ModelName> parse_model_name(const std::string& name);

// Thread safe: it holds only paths.
class Store {
 public:
  explicit Store(StoreOptions options);

  std::filesystem::path folder_of(const std::string& repository) const;  // where a download goes
  const std::filesystem::path& data_dir() const { return options_.data_dir; }

  // On disk and complete, or kNotFound with what to do.
  Result<StoredModel> find(const std::string& name) const;
  std::vector<StoredModel> list() const;  // by name; the built-in one first

  // kInvalidArgument: not in the own folder.
  Result<void> remove(const std::string& name) const;
  // Copies a checkpoint folder (or one .safetensors file and the config.json beside it) into the store; `progress` gets
  // bytes done and in all. Free space is checked first, and a half copy never counts as a model.
  Result<StoredModel> import(const std::filesystem::path& from,
                             const std::function<void(uint64_t, uint64_t)>& progress) const;

 private:
  std::optional<StoredModel> find_repository(const std::string& repository) const;

  StoreOptions options_;
};

// A folder is complete when it has config.json, weights (all that the index names) and no unfinished download.
Result<StoredModel> inspect_folder(const std::filesystem::path& folder);

// Fails with kUnavailable, naming both figures, when `folder`'s disk has less than this to spare.
Result<void> check_free_space(const std::filesystem::path& folder, uint64_t size_bytes);

}  // namespace cohort::hub
