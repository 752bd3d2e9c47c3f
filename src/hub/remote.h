// What the hub says about repositories: their files, and searches.
#pragma once

#include <cstdint>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "hub/card.h"
#include "hub/options.h"

namespace cohort::hub {

struct RemoteFile {
  std::string path;  // safe: relative, without "." and ".." and odd characters
  uint64_t size_bytes = 0;
  std::string sha256;    // of large files; "" for small ones
  std::string git_sha1;  // of small files: git's blob id
};

struct SearchHit {
  std::string repository;
  int64_t downloads = 0, likes = 0;
  std::string last_modified;
  std::vector<std::string> tags;

  template <class Visitor>
  void fields(Visitor& visit) {
    visit("id", repository);
    visit("downloads", downloads);
    visit("likes", likes);
    visit("lastModified", last_modified);
    visit("tags", tags);
  }
};

// Blocking, with bounded retries; kUnavailable at once when offline.
Result<std::vector<RemoteFile>> list_files(const std::string& repository, const HubOptions& options,
                                           std::stop_token stop = {});
Result<std::vector<SearchHit>> search(const std::string& query, int limit,
                                      const HubOptions& options, std::stop_token stop = {});
// A card of a repository that is not on this device, from its config.json and listing.
Result<Card> remote_card(const std::string& repository, const HubOptions& options,
                         std::stop_token stop = {});

// Those of a listing that running the model takes: weights, configuration, tokenizer, template. kNotFound when there are
// no weights we read.
Result<std::vector<RemoteFile>> needed_files(std::vector<RemoteFile> files,
                                             const std::string& repository);

std::string file_url(const std::string& repository, std::string_view path,
                     const HubOptions& options);

// kInvalidArgument for a name that could leave its folder.
Result<void> check_file_name(std::string_view path);

}  // namespace cohort::hub
