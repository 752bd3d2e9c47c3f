#include "cli/commands.h"
#include "cli/model_store.h"
#include "cli/terminal.h"
namespace cohort::cli {
int pull(const Common&, const StoreOptions&, const std::string&) { return report({Code::kUnsupported, "downloads are not built yet"}); }
int search(const Common&, const StoreOptions&, const std::string&) { return report({Code::kUnsupported, "downloads are not built yet"}); }
Result<void> ensure_model(const StoreOptions& options, const std::string& model) {
  COHORT_TRY(const hub::StoredModel found, open_store(options).find(model));
  (void)found;
  return {};
}
}
