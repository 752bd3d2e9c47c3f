#include "cli/model_store.h"

#include <system_error>

namespace cohort::cli {

hub::Store open_store(const StoreOptions& options) {
  return hub::Store({.data_dir = options.data_dir, .models_dirs = options.models_dirs});
}

Result<std::string> model_source(const StoreOptions& options, const std::string& model) {
  COHORT_TRY(const hub::StoredModel stored, open_store(options).find(model));
  return stored.folder.empty() ? std::string(hub::kBuiltInModel) : stored.folder.string();
}

std::string history_file(const StoreOptions& options) {
  const std::filesystem::path folder = open_store(options).data_dir();
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  return error ? "" : (folder / "history").string();
}

}  // namespace cohort::cli
