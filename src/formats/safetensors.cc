#include "formats/safetensors.h"

#include <algorithm>
#include <optional>
#include <unordered_set>

#include <simdjson.h>

#include "base/bytes.h"

namespace cohort::formats {
namespace {

namespace dom = simdjson::dom;

// What every error of one tensor needs to name.
struct Place {
  std::string_view file;
  std::string_view tensor;
};

template <class... Args>
tl::unexpected<Error> corrupt(Place place, fmt::format_string<Args...> format, Args&&... args) {
  return fail(Code::kDataLoss, "{}: tensor '{}': {}", place.file, place.tensor,
              fmt::format(format, std::forward<Args>(args)...));
}

Result<Shape> parse_shape(dom::object fields, Place place) {
  dom::array dims;
  if (fields["shape"].get(dims) != simdjson::SUCCESS) return corrupt(place, "has no shape");
  if (dims.size() > Shape::kMaxRank) {
    return corrupt(place, "has {} dimensions, more than {}", dims.size(), Shape::kMaxRank);
  }
  Shape shape;
  for (dom::element dim : dims) {
    int64_t size = 0;
    if (dim.get(size) != simdjson::SUCCESS || size < 0) {
      return corrupt(place, "dimension {} of its shape is not a size", shape.rank());
    }
    shape.push_back(size);
  }
  return shape;
}

std::optional<uint64_t> shape_bytes(const Shape& shape, DType dtype) {
  std::optional<uint64_t> size = dtype_size(dtype);
  for (int i = 0; i < shape.rank() && size; ++i) {
    size = checked_multiply(*size, static_cast<uint64_t>(shape[i]));
  }
  return size;
}

struct ByteRange {
  uint64_t begin = 0, end = 0;
};

Result<ByteRange> parse_range(dom::object fields, uint64_t data_size, Place place) {
  dom::array offsets;
  ByteRange range;
  if (fields["data_offsets"].get(offsets) != simdjson::SUCCESS || offsets.size() != 2 ||
      offsets.at(0).get(range.begin) != simdjson::SUCCESS ||
      offsets.at(1).get(range.end) != simdjson::SUCCESS) {
    return corrupt(place, "data_offsets are not two sizes");
  }
  if (range.begin > range.end || range.end > data_size) {
    return corrupt(place, "bytes {} to {} lie outside of the file's {} bytes of data", range.begin,
                   range.end, data_size);
  }
  return range;
}

Result<TensorInfo> parse_tensor(dom::element value, uint64_t data_offset, uint64_t data_size,
                                Place place) {
  dom::object fields;
  if (value.get(fields) != simdjson::SUCCESS)
    return corrupt(place, "is not described by an object");
  std::string_view dtype_text;
  if (fields["dtype"].get(dtype_text) != simdjson::SUCCESS) return corrupt(place, "has no dtype");
  const std::optional<DType> dtype = parse_dtype(dtype_text);
  if (!dtype) return corrupt(place, "dtype '{}' is unknown", dtype_text);
  COHORT_TRY(const Shape shape, parse_shape(fields, place));
  COHORT_TRY(const ByteRange range, parse_range(fields, data_size, place));
  const std::optional<uint64_t> size = shape_bytes(shape, *dtype);
  if (!size || *size != range.end - range.begin) {
    return corrupt(place, "shape {} of {} does not take the {} bytes that it is given",
                   shape.to_string(), dtype_text, range.end - range.begin);
  }
  return TensorInfo{std::string(place.tensor), *dtype, shape, data_offset + range.begin,
                    data_offset + range.end};
}

Result<void> check_overlaps(const std::vector<TensorInfo>& by_offset, std::string_view file) {
  for (size_t i = 1; i < by_offset.size(); ++i) {
    const TensorInfo& before = by_offset[i - 1];
    const TensorInfo& tensor = by_offset[i];
    if (tensor.begin < before.end) {
      return corrupt({file, tensor.name}, "bytes {} to {} overlap those of '{}', {} to {}",
                     tensor.begin, tensor.end, before.name, before.begin, before.end);
    }
  }
  return {};
}

Result<void> check_duplicates(const std::vector<TensorInfo>& tensors, std::string_view file) {
  std::unordered_set<std::string_view> seen;
  for (const TensorInfo& tensor : tensors) {
    if (!seen.insert(tensor.name).second) return corrupt({file, tensor.name}, "is listed twice");
  }
  return {};
}

}  // namespace

Result<uint64_t> safetensors_head_size(std::span<const std::byte> first_bytes, uint64_t file_size,
                                       std::string_view file) {
  if (first_bytes.size() < kSafetensorsLengthBytes || file_size < kSafetensorsLengthBytes) {
    return fail(Code::kDataLoss, "{}: {} bytes are too few for a safetensors file", file,
                file_size);
  }
  const auto header = load<uint64_t>(first_bytes.data());
  if (header > kMaxSafetensorsHeaderBytes) {
    return fail(Code::kDataLoss, "{}: a header of {} bytes is over the limit of {}", file, header,
                kMaxSafetensorsHeaderBytes);
  }
  if (header > file_size - kSafetensorsLengthBytes) {
    return fail(Code::kDataLoss, "{}: a header of {} bytes does not fit in a file of {} bytes",
                file, header, file_size);
  }
  return kSafetensorsLengthBytes + header;
}

Result<std::vector<TensorInfo>> parse_safetensors_header(std::span<const std::byte> head,
                                                         uint64_t file_size,
                                                         std::string_view file) {
  COHORT_TRY(const uint64_t head_size, safetensors_head_size(head, file_size, file));
  if (head.size() < head_size) {
    return fail(Code::kDataLoss, "{}: only {} of the header's {} bytes are here", file, head.size(),
                head_size);
  }
  dom::parser parser;
  dom::object entries;
  const auto* text = reinterpret_cast<const char*>(head.data()) + kSafetensorsLengthBytes;
  const auto error = parser.parse(text, head_size - kSafetensorsLengthBytes).get(entries);
  if (error != simdjson::SUCCESS) {
    return fail(Code::kDataLoss, "{}: the header is not a JSON object: {}", file,
                simdjson::error_message(error));
  }
  std::vector<TensorInfo> tensors;
  for (const auto [name, value] : entries) {
    if (name == "__metadata__") continue;
    COHORT_TRY(tensors.emplace_back(),
               parse_tensor(value, head_size, file_size - head_size, {file, name}));
  }
  std::ranges::sort(tensors, {}, [](const TensorInfo& t) { return std::pair(t.begin, t.end); });
  COHORT_TRY_VOID(check_duplicates(tensors, file));
  COHORT_TRY_VOID(check_overlaps(tensors, file));
  return tensors;
}

}  // namespace cohort::formats
