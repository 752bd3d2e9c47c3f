// Safetensors files for tests, in memory: well formed with Writer, or any header with raw_safetensors().
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "base/bytes.h"
#include "tensor/tensor_view.h"

namespace cohort::formats::testing {

using Bytes = std::vector<std::byte>;

inline Bytes raw_safetensors(std::string_view header, size_t data_size) {
  Bytes file(8 + header.size() + data_size);
  store<uint64_t>(file.data(), header.size());
  std::memcpy(file.data() + 8, header.data(), header.size());
  return file;
}

class Writer {
 public:
  // `data` is copied; it must have the size that dtype and shape say.
  Writer& add(std::string_view name, DType dtype, const Shape& shape,
              std::span<const std::byte> data) {
    COHORT_CHECK(data.size() == TensorView({data.data(), dtype, shape}).size_bytes());
    header_ += fmt::format(R"({}"{}":{{"dtype":"{}","shape":{},"data_offsets":[{},{}]}})",
                           header_.empty() ? "" : ",", name, dtype_name(dtype), shape.to_string(),
                           data_.size(), data_.size() + data.size());
    data_.insert(data_.end(), data.begin(), data.end());
    return *this;
  }
  // Zeros.
  Writer& add(std::string_view name, DType dtype, const Shape& shape) {
    return add(name, dtype, shape, Bytes(TensorView({nullptr, dtype, shape}).size_bytes()));
  }
  Writer& add(std::string_view name, const Shape& shape, std::span<const float> values) {
    return add(name, DType::kF32, shape, std::as_bytes(values));
  }

  Bytes finish() const {
    Bytes file = raw_safetensors("{" + header_ + "}", data_.size());
    std::memcpy(file.data() + file.size() - data_.size(), data_.data(), data_.size());
    return file;
  }

 private:
  std::string header_;
  Bytes data_;
};

inline void write_file(const std::filesystem::path& path, std::span<const std::byte> bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(bytes.data()),
             static_cast<std::streamsize>(bytes.size()));
}
inline void write_file(const std::filesystem::path& path, std::string_view text) {
  write_file(path, std::as_bytes(std::span(text)));
}

}  // namespace cohort::formats::testing
