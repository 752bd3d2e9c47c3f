#include "hub/store.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <set>

#include "assets/assets.h"
#include "base/bytes.h"

namespace cohort::hub {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kPartialSuffix = ".partial";
constexpr std::string_view kSeparator = "--";   // "owner--name", as the hub's own cache writes it
constexpr uint64_t kSpareBytes = 256ull << 20;  // kept free on the disk
constexpr uintmax_t kMaxConfigBytes = 16 << 20;

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

Result<std::string> read_small_file(const fs::path& path) {
  std::error_code error;
  const uintmax_t size = fs::file_size(path, error);
  if (error) return fail(Code::kNotFound, "{}: {}", path.string(), error.message());
  if (size > kMaxConfigBytes)
    return fail(Code::kTooLarge, "{} has {}", path.string(), format_bytes(size));
  std::ifstream file(path, std::ios::binary);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

bool is_repository_id(const std::string& name) {
  const size_t slash = name.find('/');
  if (slash == 0 || slash == std::string::npos || slash + 1 == name.size()) return false;
  if (name.find('/', slash + 1) != std::string::npos || name.find("..") != std::string::npos)
    return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) ||
           std::string_view("-_./").find(c) != std::string_view::npos;
  });
}

std::string folder_name(const std::string& repository) {
  std::string name = repository;
  const size_t slash = name.find('/');
  if (slash != std::string::npos) name.replace(slash, 1, kSeparator);
  return name;
}

std::string repository_of(const std::string& folder) {
  const size_t at = folder.find(kSeparator);
  if (at == std::string::npos) return "";
  return folder.substr(0, at) + "/" + folder.substr(at + kSeparator.size());
}

// The weight files a folder should have: those of the index, or every .safetensors there is.
Result<std::vector<std::string>> weight_files(const fs::path& folder) {
  std::set<std::string> names;
  const fs::path index = folder / "model.safetensors.index.json";
  std::error_code ignored;
  if (fs::exists(index, ignored)) {
    COHORT_TRY(const std::string text, read_small_file(index));
    COHORT_TRY(const Json json, parse_json(text));
    const Json files = json.value("weight_map", Json::object());
    for (const auto& [tensor, file] : files.items()) {
      if (file.is_string()) names.insert(file.get<std::string>());
    }
  } else {
    for (const auto& entry : fs::directory_iterator(folder, ignored)) {
      if (entry.path().extension() == ".safetensors" &&
          entry.path().filename() != "golden.safetensors") {
        names.insert(entry.path().filename().string());
      }
    }
  }
  if (names.empty()) return fail(Code::kNotFound, "{} has no .safetensors file", folder.string());
  return std::vector<std::string>(names.begin(), names.end());
}

bool has_partial(const fs::path& folder) {
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(folder, ignored)) {
    if (entry.path().extension() == kPartialSuffix) return true;
  }
  return false;
}

// The newest snapshot of a repository in the hub client's cache.
std::optional<fs::path> cached_snapshot(const std::string& repository) {
  fs::path home = environment("HF_HOME");
  if (home.empty()) home = fs::path(environment("HOME")) / ".cache/huggingface";
  const fs::path model = home / "hub" / ("models--" + folder_name(repository));
  const Result<std::string> commit = read_small_file(model / "refs/main");
  if (!commit) return std::nullopt;
  std::string name = *commit;
  name.erase(
      std::remove_if(name.begin(), name.end(), [](unsigned char c) { return !std::isxdigit(c); }),
      name.end());
  const fs::path snapshot = model / "snapshots" / name;
  std::error_code ignored;
  if (name.empty() || !fs::is_directory(snapshot, ignored)) return std::nullopt;
  return snapshot;
}

StoredModel built_in() {
  StoredModel model{.name = std::string(kBuiltInModel)};
  for (const std::string_view file : assets::names_below("demo/"))
    model.size_bytes += assets::find(file)->size();
  if (const auto config = parse_json(*assets::find("demo/config.json")))
    model.card = card_of_config(*config);
  model.card.name = kBuiltInModel;
  return model;
}

// How many letters differ, by single changes (Levenshtein); for suggestions.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i);
    for (size_t j = 1; j <= b.size(); ++j) {
      const size_t replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, replaced}));
    }
  }
  return row.back();
}

std::string suggestion(const std::string& name) {
  std::vector<std::pair<size_t, std::string>> near;
  for (const Card& card : embedded_cards()) {
    const size_t distance = edit_distance(name, card.name);
    if (distance <= 3 || card.name.starts_with(name)) near.emplace_back(distance, card.name);
  }
  std::sort(near.begin(), near.end());
  std::string text;
  for (size_t i = 0; i < near.size() && i < 3; ++i)
    text += (i ? ", " : "; did you mean ") + near[i].second;
  return text;
}

Result<uint64_t> copy_file_with_progress(const fs::path& from, const fs::path& to, uint64_t done,
                                         uint64_t total,
                                         const std::function<void(uint64_t, uint64_t)>& progress) {
  std::ifstream in(from, std::ios::binary);
  std::ofstream out(to, std::ios::binary | std::ios::trunc);
  std::vector<char> buffer(4 << 20);
  while (in) {
    in.read(buffer.data(), static_cast<std::streamsize>(buffer.size()));
    if (in.gcount() == 0) break;
    out.write(buffer.data(), in.gcount());
    if (!out) return fail(Code::kUnavailable, "could not write {}", to.string());
    done += static_cast<uint64_t>(in.gcount());
    progress(done, total);
  }
  if (in.bad()) return fail(Code::kDataLoss, "could not read {}", from.string());
  return done;
}

}  // namespace

fs::path default_data_dir() {
#ifdef __APPLE__
  return fs::path(environment("HOME")) / "Library/Application Support/cohort";
#else
  const std::string xdg = environment("XDG_DATA_HOME");
  if (!xdg.empty()) return fs::path(xdg) / "cohort";
  return fs::path(environment("HOME")) / ".local/share/cohort";
#endif
}

Result<ModelName> parse_model_name(const std::string& name) {
  using Kind = ModelName::Kind;
  if (name == kBuiltInModel) return ModelName{.kind = Kind::kBuiltIn};
  if (const Card* card = find_card(name))
    return ModelName{.kind = Kind::kRepository, .repository = card->repository};
  const bool looks_like_path = name.starts_with("/") || name.starts_with(".") ||
                               name.starts_with("~") || name.ends_with(".safetensors") ||
                               name.ends_with(".gguf");
  std::error_code ignored;
  if (looks_like_path || fs::is_directory(name, ignored)) {
    if (!fs::exists(name, ignored))
      return fail(Code::kNotFound, "there is no file or folder {}", name);
    return ModelName{.kind = Kind::kPath, .path = fs::absolute(name)};
  }
  if (is_repository_id(name)) return ModelName{.kind = Kind::kRepository, .repository = name};
  return fail(Code::kNotFound,
              "no model named '{}': give a card's name (cohort search), owner/name, or a folder{}",
              name, suggestion(name));
}

Result<StoredModel> inspect_folder(const fs::path& folder) {
  COHORT_TRY(const std::string text, read_small_file(folder / "config.json"));
  COHORT_TRY(const Json config, parse_json(text));
  StoredModel model{.name = folder.filename().string(), .folder = folder};
  model.card = card_of_config(config);
  COHORT_TRY(const std::vector<std::string> files, weight_files(folder));
  model.complete = !has_partial(folder);
  for (const std::string& file : files) {
    std::error_code missing;
    const uintmax_t size = fs::file_size(folder / file, missing);
    if (missing) {
      model.complete = false;
    } else {
      model.size_bytes += size;
    }
  }
  model.card.size_bytes = model.size_bytes;
  return model;
}

Result<void> check_free_space(const fs::path& folder, uint64_t size_bytes) {
  fs::path existing = folder;
  std::error_code error;
  while (!existing.empty() && !fs::exists(existing, error)) existing = existing.parent_path();
  const fs::space_info space = fs::space(existing.empty() ? fs::path("/") : existing, error);
  if (error || space.available >= size_bytes + kSpareBytes) return {};
  return fail(
      Code::kUnavailable,
      "{} has {} free and {} is needed (with {} to spare); free some space or choose --data-dir",
      existing.string(), format_bytes(space.available), format_bytes(size_bytes),
      format_bytes(kSpareBytes));
}

Store::Store(StoreOptions options) : options_(std::move(options)) {
  if (options_.data_dir.empty()) options_.data_dir = default_data_dir();
}

fs::path Store::folder_of(const std::string& repository) const {
  return options_.data_dir / "models" / folder_name(repository);
}

std::optional<StoredModel> Store::find_repository(const std::string& repository) const {
  std::vector<fs::path> places = {folder_of(repository)};
  for (const fs::path& dir : options_.models_dirs) {
    places.push_back(dir / folder_name(repository));
    places.push_back(dir / repository);
  }
  if (options_.use_hub_cache) {
    if (const auto snapshot = cached_snapshot(repository)) places.push_back(*snapshot);
  }
  for (size_t i = 0; i < places.size(); ++i) {
    Result<StoredModel> model = inspect_folder(places[i]);
    if (!model || !model->complete) continue;
    model->name = repository;
    model->repository = repository;
    model->removable = i == 0;
    return std::move(*model);
  }
  return std::nullopt;
}

Result<StoredModel> Store::find(const std::string& name) const {
  const Result<ModelName> parsed = parse_model_name(name);
  if (!parsed) {
    // A folder that was imported goes by its own name.
    for (StoredModel& model : list()) {
      if (model.name == name) return std::move(model);
    }
    return tl::unexpected<Error>(parsed.error());
  }
  if (parsed->kind == ModelName::Kind::kBuiltIn) return built_in();
  if (parsed->kind == ModelName::Kind::kPath) {
    const fs::path folder =
        fs::is_directory(parsed->path) ? parsed->path : parsed->path.parent_path();
    COHORT_TRY(StoredModel model, inspect_folder(folder));
    model.name = name;
    model.folder = parsed->path;
    if (!model.complete)
      return fail(Code::kDataLoss, "{} lacks some of its weight files", folder.string());
    return model;
  }
  if (std::optional<StoredModel> model = find_repository(parsed->repository)) {
    if (find_card(name) != nullptr) model->name = name;
    return std::move(*model);
  }
  return fail(Code::kNotFound, "{} is not on this device; 'cohort pull {}' downloads it",
              parsed->repository, name);
}

std::vector<StoredModel> Store::list() const {
  std::vector<StoredModel> models = {built_in()};
  std::vector<fs::path> dirs = {options_.data_dir / "models"};
  dirs.insert(dirs.end(), options_.models_dirs.begin(), options_.models_dirs.end());
  std::set<std::string> seen;
  for (size_t i = 0; i < dirs.size(); ++i) {
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(dirs[i], ignored)) {
      if (!entry.is_directory(ignored) || entry.path().extension() == kPartialSuffix) continue;
      Result<StoredModel> model = inspect_folder(entry.path());
      if (!model) continue;
      model->repository = repository_of(model->name);
      if (!model->repository.empty()) model->name = model->repository;
      model->removable = i == 0;
      if (seen.insert(model->name).second) models.push_back(std::move(*model));
    }
  }
  std::sort(models.begin() + 1, models.end(),
            [](const StoredModel& a, const StoredModel& b) { return a.name < b.name; });
  return models;
}

Result<void> Store::remove(const std::string& name) const {
  fs::path folder;
  for (const StoredModel& model : list()) {
    const Card* card = find_card(name);
    if (model.name == name || (card != nullptr && model.name == card->repository)) {
      if (!model.removable) {
        return fail(Code::kInvalidArgument, "{} is not in {}: it is not cohort's to delete", name,
                    (options_.data_dir / "models").string());
      }
      folder = model.folder;
    }
  }
  if (folder.empty()) return fail(Code::kNotFound, "{} is not on this device", name);
  std::error_code error;
  fs::remove_all(folder, error);
  if (error)
    return fail(Code::kInternal, "could not delete {}: {}", folder.string(), error.message());
  return {};
}

Result<StoredModel> Store::import(const fs::path& from,
                                  const std::function<void(uint64_t, uint64_t)>& progress) const {
  const fs::path source = fs::is_directory(from) ? from : fs::absolute(from).parent_path();
  COHORT_TRY(const StoredModel model, inspect_folder(source));
  if (!model.complete)
    return fail(Code::kDataLoss, "{} lacks some of its weight files", source.string());
  std::vector<fs::path> files;
  uint64_t total = 0;
  for (const auto& entry : fs::directory_iterator(source)) {
    const std::string extension = entry.path().extension().string();
    if (!entry.is_regular_file() || (extension != ".safetensors" && extension != ".json" &&
                                     extension != ".jinja" && extension != ".txt")) {
      continue;
    }
    files.push_back(entry.path());
    total += entry.file_size();
  }
  std::string name = fs::absolute(source).lexically_normal().filename().string();
  if (name.empty()) name = fs::absolute(source).parent_path().filename().string();
  const fs::path target = options_.data_dir / "models" / name;
  std::error_code error;
  if (fs::exists(target, error))
    return fail(Code::kInvalidArgument, "{} is there already; 'cohort rm {}' first",
                target.string(), name);
  COHORT_TRY_VOID(check_free_space(target, total));
  const fs::path unfinished = target.string() + std::string(kPartialSuffix);
  fs::remove_all(unfinished, error);
  fs::create_directories(unfinished, error);
  if (error)
    return fail(Code::kInternal, "could not create {}: {}", unfinished.string(), error.message());
  uint64_t done = 0;
  for (const fs::path& file : files) {
    COHORT_TRY(done,
               copy_file_with_progress(file, unfinished / file.filename(), done, total, progress));
  }
  fs::rename(unfinished, target, error);
  if (error)
    return fail(Code::kInternal, "could not rename {}: {}", unfinished.string(), error.message());
  return inspect_folder(target);
}

}  // namespace cohort::hub
