#include "hub/remote.h"

#include <algorithm>
#include <cctype>

#include "base/bytes.h"
#include "base/json.h"
#include "hub/retry.h"

namespace cohort::hub {
namespace {

constexpr size_t kMaxReplyBytes = 32u << 20;
constexpr size_t kMaxFiles = 10'000;
constexpr int kMaxPages = 50;
constexpr uint64_t kMaxFileBytes = 1ull << 40;
constexpr size_t kMaxPathBytes = 1024, kMaxNameBytes = 200;

std::string percent_encode(std::string_view text, std::string_view plain) {
  std::string out;
  for (const char c : text) {
    const unsigned char byte = static_cast<unsigned char>(c);
    const bool keep = std::isalnum(byte) || plain.find(c) != plain.npos;
    out += keep ? std::string(1, c) : fmt::format("%{:02X}", byte);
  }
  return out;
}

struct Page {
  std::string body, next;
};

// Waits without a transfer under way, but not past a request to stop.
void pause(Transfers& transfers, Milliseconds wait, std::stop_token stop) {
  constexpr Milliseconds kSlice{50};
  for (; wait.count() > 0 && !stop.stop_requested(); wait -= kSlice)
    transfers.wait(std::min(wait, kSlice));
}

Result<Page> get(const std::string& url, std::string_view what, const HubOptions& options,
                 std::stop_token stop) {
  if (options.offline) return fail(Code::kUnavailable, "{}: offline", what);
  Transfers transfers(options);
  for (int failures = 0;; ++failures) {
    Page page;
    transfers.start(0, {.url = url,
                        .with_token = true,
                        .deadline = options.call_timeout,
                        .on_data = [&](std::string_view data) {
                          page.body += data;
                          return page.body.size() <= kMaxReplyBytes;
                        }});
    std::vector<std::pair<uint64_t, TransferResult>> ended;
    while (ended.empty()) {
      if (stop.stop_requested()) return fail(Code::kCancelled, "{}: cancelled", what);
      ended = transfers.wait(Milliseconds(50));
    }
    const TransferResult& result = ended.front().second;
    page.next = result.next_page;
    Verdict verdict = judge(result, failures, what, options);
    if (verdict.kind == Verdict::Kind::kDone) return page;
    if (verdict.kind == Verdict::Kind::kFail)
      return tl::unexpected<Error>(std::move(verdict.error));
    pause(transfers, verdict.wait, stop);
  }
}

Result<Json> get_json(const std::string& url, std::string_view what, const HubOptions& options,
                      std::stop_token stop, std::string* next = nullptr) {
  COHORT_TRY(Page page, get(url, what, options, stop));
  if (next) *next = std::move(page.next);
  auto json = parse_json(page.body);
  if (!json) return fail_in(what, std::move(json).error());
  return json;
}

struct ListedFile {
  std::string type, path, oid;
  uint64_t size = 0;
  Json lfs;

  template <class Visitor>
  void fields(Visitor& visit) {
    visit("type", type);
    visit("path", path);
    visit("oid", oid);
    visit("size", size);
    visit("lfs", lfs);
  }
};

bool is_hex(std::string_view text, size_t size) {
  return text.size() == size &&
         std::all_of(text.begin(), text.end(), [](unsigned char c) { return std::isxdigit(c); });
}

Result<RemoteFile> remote_file(const ListedFile& listed) {
  COHORT_TRY_VOID(check_file_name(listed.path));
  if (listed.size > kMaxFileBytes) {
    return fail(Code::kDataLoss, "{} is listed with {}, over the limit of {}", listed.path,
                format_bytes(listed.size), format_bytes(kMaxFileBytes));
  }
  RemoteFile file{.path = listed.path, .size_bytes = listed.size};
  const std::string sha256 = listed.lfs.is_object() ? listed.lfs.value("oid", "") : "";
  if (is_hex(sha256, 64)) {
    file.sha256 = sha256;
  } else if (is_hex(listed.oid, 40)) {
    file.git_sha1 = listed.oid;
  } else {
    return fail(Code::kDataLoss, "{} is listed without a checksum", listed.path);
  }
  return file;
}

bool has_suffix(std::string_view path, std::initializer_list<std::string_view> suffixes) {
  return std::any_of(suffixes.begin(), suffixes.end(),
                     [&](std::string_view suffix) { return path.ends_with(suffix); });
}

}  // namespace

Result<void> check_file_name(std::string_view path) {
  bool safe = !path.empty() && path.size() <= kMaxPathBytes;
  for (size_t begin = 0; safe && begin <= path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    const std::string_view part = path.substr(begin, end - begin);
    safe = !part.empty() && part != "." && part != ".." && part.size() <= kMaxNameBytes;
    begin = end + 1;
  }
  safe = safe && std::none_of(path.begin(), path.end(),
                              [](unsigned char c) { return c < 0x20 || c == 0x7F || c == '\\'; });
  if (safe) return {};
  return fail(Code::kInvalidArgument, "refusing the file name '{}'", path.substr(0, kMaxNameBytes));
}

std::string file_url(const std::string& repository, std::string_view path,
                     const HubOptions& options) {
  return fmt::format("{}/{}/resolve/main/{}", options.endpoint, percent_encode(repository, "-_./"),
                     percent_encode(path, "-_./~"));
}

Result<std::vector<RemoteFile>> list_files(const std::string& repository, const HubOptions& options,
                                           std::stop_token stop) {
  std::string url = fmt::format("{}/api/models/{}/tree/main?recursive=1", options.endpoint,
                                percent_encode(repository, "-_./"));
  std::vector<RemoteFile> files;
  for (int page = 0; !url.empty(); ++page) {
    std::string next;
    COHORT_TRY(const Json json, get_json(url, repository, options, stop, &next));
    if (!json.is_array() || page >= kMaxPages || files.size() + json.size() > kMaxFiles) {
      return fail(Code::kDataLoss, "{}: the listing is not one of files, or too long", repository);
    }
    for (const Json& entry : json) {
      COHORT_TRY(const ListedFile listed, from_json<ListedFile>(entry));
      if (listed.type != "file") continue;
      auto file = remote_file(listed);
      if (!file) return fail_in(repository, std::move(file).error());
      files.push_back(std::move(*file));
    }
    // Pages come from the same place; a token must not go elsewhere.
    if (!next.empty() && !next.starts_with(options.endpoint + "/")) break;
    url = std::move(next);
  }
  return files;
}

Result<std::vector<RemoteFile>> needed_files(std::vector<RemoteFile> files,
                                             const std::string& repository) {
  const bool has_other_weights =
      std::any_of(files.begin(), files.end(), [](const RemoteFile& file) {
        return file.path.ends_with(".safetensors") && !file.path.starts_with("consolidated");
      });
  std::vector<RemoteFile> needed;
  bool has_weights = false;
  for (RemoteFile& file : files) {
    if (file.path.find('/') != std::string::npos || file.path.starts_with('.')) continue;
    const bool weights =
        file.path.ends_with(".safetensors") &&
        !(has_other_weights && file.path.starts_with("consolidated"));  // the same, twice
    const bool small = has_suffix(file.path, {".json", ".jinja", ".model", ".tiktoken",
                                              "merges.txt", "vocab.txt"}) &&
                       !(has_other_weights && file.path.starts_with("consolidated"));
    has_weights = has_weights || weights;
    if (weights || small) needed.push_back(std::move(file));
  }
  if (has_weights) return needed;
  return fail(Code::kNotFound, "{} has no .safetensors files", repository);
}

Result<std::vector<SearchHit>> search(const std::string& query, int limit,
                                      const HubOptions& options, std::stop_token stop) {
  const std::string url =
      fmt::format("{}/api/models?search={}&limit={}&filter=safetensors&sort=downloads&direction=-1",
                  options.endpoint, percent_encode(query, "-_."), std::clamp(limit, 1, 100));
  COHORT_TRY(const Json json, get_json(url, "search", options, stop));
  if (!json.is_array()) return fail(Code::kDataLoss, "search: the answer is not a list");
  std::vector<SearchHit> hits;
  for (const Json& entry : json) {
    COHORT_TRY(SearchHit hit, from_json<SearchHit>(entry));
    hits.push_back(std::move(hit));
  }
  return hits;
}

Result<Card> remote_card(const std::string& repository, const HubOptions& options,
                         std::stop_token stop) {
  COHORT_TRY(const auto listed, list_files(repository, options, stop));
  COHORT_TRY(const auto files, needed_files(listed, repository));
  COHORT_TRY(const Json config, get_json(file_url(repository, "config.json", options),
                                         repository + "/config.json", options, stop));
  Card card = card_of_config(config);
  card.repository = repository;
  for (const RemoteFile& file : files) {
    if (file.path.ends_with(".safetensors")) card.size_bytes += file.size_bytes;
  }
  return card;
}

}  // namespace cohort::hub
