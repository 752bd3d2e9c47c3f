// Which files of a folder hold a model's weights, and what their headers say, without reading the weights.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "formats/safetensors.h"

namespace cohort::formats {

inline constexpr std::string_view kIndexFile = "model.safetensors.index.json";

// model.safetensors.index.json: tensor name -> file name.
using WeightMap = std::map<std::string, std::string>;

// Refuses file names that leave the folder. `file` names the index in errors.
Result<WeightMap> parse_weight_map(std::string_view json_text, std::string_view file);

// The weight files of a folder: those the index lists, else every model*.safetensors, by name. kNotFound names what is
// missing.
struct WeightFiles {
  std::vector<std::filesystem::path> paths;
  WeightMap index;  // empty when there is none
};
Result<WeightFiles> find_weight_files(const std::filesystem::path& folder);

struct FileTensors {
  std::string file;  // its name in the folder
  uint64_t file_size_bytes = 0;
  std::vector<TensorInfo> tensors;  // by offset
};

// Reads only the headers, and checks them as parse_safetensors_header() does.
Result<std::vector<FileTensors>> read_weight_headers(const std::filesystem::path& folder);

uint64_t total_bytes(const std::vector<FileTensors>& files);  // of all tensors

// kDataLoss when the index names a tensor that its file does not hold, or a tensor is in two files.
Result<void> check_index(const std::vector<FileTensors>& files, const WeightMap& index);

// A whole small file (JSON). kTooLarge over `max_bytes`.
Result<std::string> read_text_file(const std::filesystem::path& path, uint64_t max_bytes);

}  // namespace cohort::formats
