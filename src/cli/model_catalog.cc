#include "cli/model_catalog.h"

#include "cli/model_cost.h"
#include "cli/model_store.h"
#include "hub/download.h"
#include "runner/model_files.h"

namespace cohort::cli {
namespace {

// On disk, or downloaded now: whoever asks for a model the device lacks waits for it.
Result<hub::StoredModel> find_or_pull(const StoreOptions& options, const std::string& name,
                                      std::stop_token stop) {
  const hub::Store store = open_store(options);
  Result<hub::StoredModel> found = store.find(name);
  if (found || found.error().code != Code::kNotFound) return found;
  const Result<hub::ModelName> parsed = hub::parse_model_name(name);
  const bool can_pull = parsed && parsed->kind == hub::ModelName::Kind::kRepository;
  if (!can_pull || options.offline) return found;
  hub::PullOptions pull{.hub = hub::hub_options_from_environment()};
  pull.stop = std::move(stop);
  return hub::pull(store, name, pull);
}

std::vector<node::ModelListing> listings(const StoreOptions& options) {
  std::vector<node::ModelListing> models;
  for (const hub::StoredModel& model : open_store(options).list()) {
    if (model.complete) models.push_back({.name = model.name, .size_bytes = model.size_bytes});
  }
  return models;
}

Result<node::ModelLocation> locate(const StoreOptions& options, const std::string& kv_type,
                                   const std::string& name, std::stop_token stop) {
  COHORT_TRY(const hub::StoredModel model, find_or_pull(options, name, std::move(stop)));
  node::ModelLocation location{.name = model.name, .weight_bytes = model.size_bytes};
  location.source = model.folder.empty() ? std::string(hub::kBuiltInModel) : model.folder.string();
  COHORT_TRY(const formats::Checkpoint checkpoint, runner::open_checkpoint(location.source));
  COHORT_TRY(location.cost, model_cost(checkpoint, kv_type));
  location.cost.name = model.name;
  return location;
}

}  // namespace

node::ModelCatalog model_catalog(const StoreOptions& options, const std::string& kv_type) {
  return {.resolve =
              [options, kv_type](const std::string& name, std::stop_token stop) {
                return locate(options, kv_type, name, std::move(stop));
              },
          .list = [options] { return listings(options); }};
}

}  // namespace cohort::cli
