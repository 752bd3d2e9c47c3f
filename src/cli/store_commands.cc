// Commands about models on this device's disks: ls, show, search, rm, import.
#include "base/bytes.h"
#include "cli/commands.h"
#include "cli/model_store.h"
#include "cli/terminal.h"

namespace cohort::cli {
namespace {

Json model_json(const hub::StoredModel& model) {
  return Json{{"name", model.name},
              {"repository", model.repository},
              {"folder", model.folder.string()},
              {"size_bytes", model.size_bytes},
              {"complete", model.complete},
              {"family", model.card.family},
              {"quantization", model.card.quantization},
              {"layers", model.card.layers},
              {"context", model.card.context}};
}

void print_facts(const hub::StoredModel& model) {
  const auto line = [](std::string_view name, const std::string& value) {
    if (!value.empty() && value != "0") fmt::print("{:<14}{}\n", name, value);
  };
  line("name", model.name);
  line("repository", model.repository);
  line("family", model.card.family);
  line("quantization", model.card.quantization);
  line("size", format_bytes(model.size_bytes));
  line("layers", std::to_string(model.card.layers));
  line("context", std::to_string(model.card.context));
  line("folder", model.folder.empty() ? "inside the binary" : model.folder.string());
}

int show_card(const Common& common, const hub::Card& card) {
  if (common.json) {
    fmt::print("{}\n", dump_json(to_json(card)));
    return kExitFine;
  }
  hub::StoredModel model{.name = card.name,
                         .repository = card.repository,
                         .size_bytes = card.size_bytes,
                         .card = card};
  model.folder = "not on this device; 'cohort pull " + card.name + "' downloads it";
  print_facts(model);
  if (!card.supported) fmt::print("this version does not run the {} family yet\n", card.family);
  return kExitFine;
}

}  // namespace

int ls(const Common& common, const StoreOptions& store) {
  const std::vector<hub::StoredModel> models = open_store(store).list();
  if (common.json) {
    Json array = Json::array();
    for (const hub::StoredModel& model : models) array.push_back(model_json(model));
    fmt::print("{}\n", dump_json(array));
    return kExitFine;
  }
  Table table({"NAME", "FAMILY", "QUANTIZATION", "SIZE", "STATE"});
  for (const hub::StoredModel& model : models) {
    table.add({model.name, model.card.family, model.card.quantization,
               format_bytes(model.size_bytes),
               model.folder.empty() ? "built in"
               : model.complete     ? "complete"
                                    : "unfinished"});
  }
  fmt::print("{}", table.to_string(wants_colour(1)));
  return kExitFine;
}

int show(const Common& common, const StoreOptions& store, const std::string& name) {
  const Result<hub::StoredModel> model = open_store(store).find(name);
  if (!model) {
    if (const hub::Card* card = hub::find_card(name)) return show_card(common, *card);
    return report(model.error());
  }
  if (common.json) {
    fmt::print("{}\n", dump_json(model_json(*model)));
  } else {
    print_facts(*model);
  }
  return kExitFine;
}

int rm(const Common& common, const StoreOptions& store, const std::string& name) {
  if (const Result<void> removed = open_store(store).remove(name); !removed)
    return report(removed.error());
  if (common.json) {
    fmt::print("{}\n", dump_json(Json{{"removed", name}}));
  } else {
    fmt::print("removed {}\n", name);
  }
  return kExitFine;
}

int import(const Common& common, const StoreOptions& store, const std::filesystem::path& from) {
  Progress progress("importing " + from.filename().string());
  const Result<hub::StoredModel> model = open_store(store).import(
      from, [&progress](uint64_t done, uint64_t total) { progress.update_bytes(done, total); });
  progress.finish();
  if (!model) return report(model.error());
  if (common.json) {
    fmt::print("{}\n", dump_json(model_json(*model)));
  } else {
    fmt::print("imported as {}\n", model->name);
  }
  return kExitFine;
}

}  // namespace cohort::cli
