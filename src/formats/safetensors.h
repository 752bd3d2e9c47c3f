// The safetensors container: u64 header length, a JSON header, then the tensors' bytes.
//   {"name": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [begin, end]}, ..., "__metadata__": {...}}
// Nothing here trusts the file: see parse_safetensors_header().
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "tensor/tensor_view.h"

namespace cohort::formats {

inline constexpr uint64_t kMaxSafetensorsHeaderBytes = 100'000'000;
inline constexpr uint64_t kSafetensorsLengthBytes = 8;

struct TensorInfo {
  std::string name;
  DType dtype = DType::kF32;
  Shape shape;
  uint64_t begin = 0;  // bytes from the start of the file
  uint64_t end = 0;

  uint64_t size_bytes() const { return end - begin; }
};

// How many bytes of a file of `file_size` bytes the length field and the header take, from its first eight bytes. With
// this and the next function a header can be fetched from a server by two ranges. `file` names the file in errors.
Result<uint64_t> safetensors_head_size(std::span<const std::byte> first_bytes, uint64_t file_size,
                                       std::string_view file);

// The tensors, by offset. `head` holds at least the bytes that safetensors_head_size() told. Refused with kDataLoss, naming
// file, tensor and numbers: malformed JSON, an unknown dtype, a shape whose size overflows or differs from its range of
// bytes, ranges outside of the file or overlapping, the same name twice.
Result<std::vector<TensorInfo>> parse_safetensors_header(std::span<const std::byte> head,
                                                         uint64_t file_size, std::string_view file);

}  // namespace cohort::formats
