#include "formats/weight_files.h"

#include <algorithm>
#include <fstream>
#include <set>
#include <system_error>

#include "base/bytes.h"
#include "base/json.h"

namespace cohort::formats {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxIndexBytes = 64u << 20;

struct Index {
  WeightMap weight_map;
  void fields(auto& visit) { visit("weight_map", weight_map); }
};

Result<std::vector<fs::path>> files_of_index(const fs::path& folder, const WeightMap& index) {
  std::set<std::string> names;
  for (const auto& [tensor, file] : index) names.insert(file);
  std::vector<fs::path> paths;
  for (const std::string& name : names) {
    paths.push_back(folder / name);
    if (!fs::is_regular_file(paths.back())) {
      return fail(Code::kNotFound, "{}: {} lists {}, which is missing", folder.string(), kIndexFile,
                  name);
    }
  }
  return paths;
}

Result<std::vector<fs::path>> files_by_name(const fs::path& folder) {
  std::vector<fs::path> paths;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("model") && name.ends_with(".safetensors")) paths.push_back(entry.path());
  }
  if (error) return fail(Code::kNotFound, "{}: {}", folder.string(), error.message());
  if (paths.empty()) {
    return fail(Code::kNotFound, "{} holds no model*.safetensors", folder.string());
  }
  std::ranges::sort(paths);
  return paths;
}

Result<FileTensors> read_header(const fs::path& path) {
  const std::string name = path.filename().string();
  std::error_code error;
  const uint64_t size = fs::file_size(path, error);
  std::ifstream file(path, std::ios::binary);
  if (error || !file) return fail(Code::kUnavailable, "cannot read {}", path.string());
  std::vector<std::byte> head(std::min(size, kSafetensorsLengthBytes));
  file.read(reinterpret_cast<char*>(head.data()), static_cast<std::streamsize>(head.size()));
  COHORT_TRY(const uint64_t head_size, safetensors_head_size(head, size, name));
  head.resize(head_size);
  file.read(reinterpret_cast<char*>(head.data()) + kSafetensorsLengthBytes,
            static_cast<std::streamsize>(head_size - kSafetensorsLengthBytes));
  if (!file) return fail(Code::kUnavailable, "cannot read the header of {}", path.string());
  COHORT_TRY(std::vector<TensorInfo> tensors, parse_safetensors_header(head, size, name));
  return FileTensors{name, size, std::move(tensors)};
}

bool is_plain_file_name(const std::string& name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == std::string::npos &&
         name.find('\\') == std::string::npos && name.find('\0') == std::string::npos;
}

}  // namespace

Result<WeightMap> parse_weight_map(std::string_view json_text, std::string_view file) {
  auto json = parse_json(json_text);
  if (!json) return fail_in(file, json.error());
  auto index = from_json<Index>(*json);
  if (!index) return fail_in(file, index.error());
  for (const auto& [tensor, name] : index->weight_map) {
    if (!is_plain_file_name(name)) {
      return fail(Code::kDataLoss, "{}: tensor '{}' is said to be in '{}', which is no file name",
                  file, tensor, name);
    }
  }
  if (index->weight_map.empty()) return fail(Code::kDataLoss, "{}: weight_map is empty", file);
  return std::move(index->weight_map);
}

Result<WeightFiles> find_weight_files(const fs::path& folder) {
  WeightFiles files;
  if (!fs::exists(folder / kIndexFile)) {
    COHORT_TRY(files.paths, files_by_name(folder));
    return files;
  }
  COHORT_TRY(const std::string text, read_text_file(folder / kIndexFile, kMaxIndexBytes));
  COHORT_TRY(files.index, parse_weight_map(text, (folder / kIndexFile).string()));
  COHORT_TRY(files.paths, files_of_index(folder, files.index));
  return files;
}

Result<std::vector<FileTensors>> read_weight_headers(const fs::path& folder) {
  COHORT_TRY(const WeightFiles files, find_weight_files(folder));
  std::vector<FileTensors> headers;
  for (const fs::path& path : files.paths) {
    COHORT_TRY(headers.emplace_back(), read_header(path));
  }
  COHORT_TRY_VOID(check_index(headers, files.index));
  return headers;
}

uint64_t total_bytes(const std::vector<FileTensors>& files) {
  uint64_t size = 0;
  for (const FileTensors& file : files) {
    for (const TensorInfo& tensor : file.tensors) size += tensor.size_bytes();
  }
  return size;
}

Result<void> check_index(const std::vector<FileTensors>& files, const WeightMap& index) {
  std::map<std::string_view, std::string_view> held;  // tensor -> file
  for (const FileTensors& file : files) {
    for (const TensorInfo& tensor : file.tensors) {
      const auto [at, inserted] = held.emplace(tensor.name, file.file);
      if (!inserted) {
        return fail(Code::kDataLoss, "tensor '{}' is in {} and in {}", tensor.name, at->second,
                    file.file);
      }
    }
  }
  for (const auto& [tensor, file] : index) {
    const auto at = held.find(tensor);
    if (at == held.end() || at->second != file) {
      return fail(Code::kDataLoss, "{}: tensor '{}' is not in {}", kIndexFile, tensor, file);
    }
  }
  return {};
}

Result<std::string> read_text_file(const fs::path& path, uint64_t max_bytes) {
  std::error_code error;
  const uint64_t size = fs::file_size(path, error);
  if (error) return fail(Code::kNotFound, "cannot read {}: {}", path.string(), error.message());
  if (size > max_bytes) {
    return fail(Code::kTooLarge, "{} has {}, more than {}", path.string(), format_bytes(size),
                format_bytes(max_bytes));
  }
  std::string text(size, '\0');
  std::ifstream file(path, std::ios::binary);
  if (!file.read(text.data(), static_cast<std::streamsize>(size))) {
    return fail(Code::kUnavailable, "cannot read {}", path.string());
  }
  return text;
}

}  // namespace cohort::formats
