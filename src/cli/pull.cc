// Models from the hub: pull, search, and the download that comes before a first run.
#include <thread>

#include "base/bytes.h"
#include "cli/api_client.h"
#include "cli/commands.h"
#include "cli/model_store.h"
#include "cli/terminal.h"
#include "hub/download.h"
#include "hub/remote.h"

namespace cohort::cli {
namespace {

constexpr int kSearchHits = 20;

hub::HubOptions hub_options(const StoreOptions& store) {
  hub::HubOptions options = hub::hub_options_from_environment();
  options.offline = options.offline || store.offline;
  return options;
}

// Downloads with a bar; Ctrl-C ends it and keeps what has come.
Result<hub::StoredModel> pull_with_bar(const StoreOptions& store, const std::string& model) {
  watch_interrupt();
  std::stop_source stop;
  Progress bar(model);
  hub::PullOptions options{.hub = hub_options(store)};
  options.stop = stop.get_token();
  options.progress = [&](const hub::PullProgress& progress) {
    if (interrupted()) stop.request_stop();
    if (progress.total_bytes > 0) bar.update_bytes(progress.done_bytes, progress.total_bytes);
  };
  return hub::pull(open_store(store), model, options);
}

// Cards whose name, repository or family contains the query, ignoring case.
std::vector<hub::Card> matching_cards(const std::string& query) {
  const auto lower = [](std::string text) {
    for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    return text;
  };
  std::vector<hub::Card> cards;
  for (const hub::Card& card : hub::embedded_cards()) {
    const std::string text = lower(card.name + " " + card.repository + " " + card.family);
    if (text.find(lower(query)) != std::string::npos) cards.push_back(card);
  }
  return cards;
}

Json search_json(const std::vector<hub::Card>& cards, const std::vector<hub::SearchHit>& hits) {
  Json array = Json::array();
  for (const hub::Card& card : cards) array.push_back(to_json(card));
  for (const hub::SearchHit& hit : hits) array.push_back(to_json(hit));
  return array;
}

}  // namespace

Result<void> ensure_model(const StoreOptions& store, const std::string& model) {
  const Result<hub::StoredModel> found = open_store(store).find(model);
  if (found) return {};
  const Result<hub::ModelName> name = hub::parse_model_name(model);
  if (!name || name->kind != hub::ModelName::Kind::kRepository || store.offline) {
    return tl::unexpected<Error>(found.error());
  }
  const Result<hub::StoredModel> pulled = pull_with_bar(store, model);
  if (!pulled) return tl::unexpected<Error>(pulled.error());
  return {};
}

int pull(const Common& common, const StoreOptions& store, const std::string& name) {
  const Result<hub::StoredModel> model = pull_with_bar(store, name);
  if (!model) return report(model.error());
  if (common.json) {
    fmt::print("{}\n", dump_json(Json{{"name", model->name},
                                      {"folder", model->folder.string()},
                                      {"size_bytes", model->size_bytes}}));
  } else {
    fmt::print("{} is here: {} in {}\n", model->name, format_bytes(model->size_bytes),
               model->folder.string());
  }
  return kExitFine;
}

int search(const Common& common, const StoreOptions& store, const std::string& query) {
  const std::vector<hub::Card> cards = matching_cards(query);
  const Result<std::vector<hub::SearchHit>> hits =
      hub::search(query, kSearchHits, hub_options(store));
  if (!hits && cards.empty()) return report(hits.error());
  const std::vector<hub::SearchHit> found = hits.value_or(std::vector<hub::SearchHit>{});
  if (common.json) {
    fmt::print("{}\n", dump_json(search_json(cards, found)));
    return kExitFine;
  }
  Table table({"NAME", "FAMILY", "SIZE", "REPOSITORY"});
  for (const hub::Card& card : cards) {
    table.add({card.name, card.family + (card.supported ? "" : " (not yet)"),
               format_bytes(card.size_bytes), card.repository});
  }
  for (const hub::SearchHit& hit : found) table.add({"-", "-", "-", hit.repository});
  fmt::print("{}", table.to_string(wants_colour(1)));
  if (!hits) fmt::print(stderr, "only cards: {}\n", hits.error().message);
  return kExitFine;
}

}  // namespace cohort::cli
