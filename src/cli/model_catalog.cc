#include "cli/model_catalog.h"

#include "cli/model_store.h"

namespace cohort::cli {

node::ModelCatalog model_catalog(const StoreOptions& options) {
  return {.resolve = [options](const std::string& name,
                               std::stop_token) -> Result<node::ModelLocation> {
            COHORT_TRY(const hub::StoredModel model, open_store(options).find(name));
            return node::ModelLocation{.name = model.name,
                                       .source = model.folder.empty()
                                                     ? std::string(hub::kBuiltInModel)
                                                     : model.folder.string(),
                                       .weight_bytes = model.size_bytes};
          },
          .list =
              [options] {
                std::vector<node::ModelListing> listings;
                for (const hub::StoredModel& model : open_store(options).list()) {
                  if (model.complete)
                    listings.push_back({.name = model.name, .size_bytes = model.size_bytes});
                }
                return listings;
              }};
}

}  // namespace cohort::cli
