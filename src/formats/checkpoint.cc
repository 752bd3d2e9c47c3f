#include "formats/checkpoint.h"

#include <functional>
#include <map>

#include "formats/config_limits.h"
#include "formats/mapped_file.h"
#include "formats/quantization_config.h"
#include "formats/safetensors.h"
#include "formats/weight_files.h"

namespace cohort::formats {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxConfigBytes = 64u << 20;
constexpr int64_t kWordBits = 32;  // codes are packed into U32

using TensorMap = std::map<std::string, TensorView, std::less<>>;

// Adds one file's tensors. `bytes` is the whole file.
Result<FileTensors> add_file(std::span<const std::byte> bytes, const std::string& file,
                             TensorMap& tensors) {
  COHORT_TRY(std::vector<TensorInfo> infos, parse_safetensors_header(bytes, bytes.size(), file));
  for (const TensorInfo& info : infos) {
    tensors[info.name] = TensorView{bytes.data() + info.begin, info.dtype, info.shape};
  }
  return FileTensors{file, bytes.size(), std::move(infos)};
}

bool is_plain_float(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16;
}

// A matrix, or one an expert, of what the tensor holds: values, or words of codes.
Result<MatrixView> as_matrix(const TensorView& weight, std::string_view prefix) {
  const Shape& shape = weight.shape;
  if (shape.rank() < 2 || shape.rank() > 3 || shape.elements() == 0) {
    return fail(Code::kDataLoss, "tensor '{}.weight' of shape {} is not a matrix", prefix,
                shape.to_string());
  }
  MatrixView matrix;
  matrix.experts = shape.rank() == 3 ? shape[0] : 0;
  matrix.rows = shape[shape.rank() - 2];
  matrix.columns = shape[shape.rank() - 1];
  matrix.weight = weight;
  return matrix;
}

// The shape of scales and biases that go with a matrix.
Shape scales_shape(const MatrixView& matrix) {
  const int64_t groups = matrix.columns / matrix.format.group_size;
  return matrix.experts ? Shape{matrix.experts, matrix.rows, groups} : Shape{matrix.rows, groups};
}

Result<void> check_plain(const MatrixView& matrix, std::string_view prefix) {
  if (is_plain_float(matrix.weight.dtype)) return {};
  return fail(Code::kDataLoss,
              "tensor '{}.weight' is {} and has no scales; plain weights are F32, F16 or BF16",
              prefix, dtype_name(matrix.weight.dtype));
}

Result<void> check_quantized(const MatrixView& matrix, std::string_view prefix) {
  const QuantFormat& format = matrix.format;
  const bool affine = format.mode == QuantMode::kAffine;
  const auto mismatch = [&](std::string_view tensor, const TensorView& view) {
    return fail(Code::kDataLoss,
                "tensor '{}.{}': {} {} does not fit {} with {} bits in groups of {} (weight {} {})",
                prefix, tensor, dtype_name(view.dtype), view.shape.to_string(),
                quant_mode_name(format.mode), format.bits, format.group_size,
                dtype_name(matrix.weight.dtype), matrix.weight.shape.to_string());
  };
  const int64_t words = matrix.weight.shape[matrix.weight.shape.rank() - 1];
  if (matrix.weight.dtype != DType::kU32 || matrix.columns % format.group_size != 0 ||
      matrix.columns * format.bits != words * kWordBits) {
    return mismatch("weight", matrix.weight);
  }
  const bool scales_type =
      affine ? is_plain_float(matrix.scales.dtype) : matrix.scales.dtype == DType::kU8;
  if (!scales_type || matrix.scales.shape != scales_shape(matrix)) {
    return mismatch("scales", matrix.scales);
  }
  if (affine &&
      (matrix.biases.dtype != matrix.scales.dtype || matrix.biases.shape != matrix.scales.shape)) {
    return mismatch("biases", matrix.biases);
  }
  return {};
}

}  // namespace

struct Checkpoint::State {
  std::string place;  // folder or file, for errors
  Json config;
  QuantizationConfig quantization;
  std::vector<MappedFile> files;  // none when the bytes are someone else's
  TensorMap tensors;

  const TensorView* find(std::string_view name) const {
    const auto at = tensors.find(name);
    return at == tensors.end() ? nullptr : &at->second;
  }

  Result<TensorView> tensor(std::string_view name) const {
    if (const TensorView* view = find(name)) return *view;
    return fail(Code::kNotFound, "tensor '{}' is missing", name);
  }

  Result<MatrixView> matrix(const std::string& prefix) const {
    COHORT_TRY(const TensorView weight, tensor(prefix + ".weight"));
    COHORT_TRY(MatrixView matrix, as_matrix(weight, prefix));
    if (!find(prefix + ".scales") && !quantization.names(prefix)) {
      COHORT_TRY_VOID(check_plain(matrix, prefix));
      return matrix;
    }
    matrix.format = quantization.format_of(prefix);
    if (matrix.format.mode == QuantMode::kNone) {
      return fail(Code::kDataLoss,
                  "tensor '{}.scales' is there, but config.json's quantization says nothing of it",
                  prefix);
    }
    COHORT_TRY(matrix.scales, tensor(prefix + ".scales"));
    if (matrix.format.mode == QuantMode::kAffine) {
      COHORT_TRY(matrix.biases, tensor(prefix + ".biases"));
    }
    matrix.columns = matrix.columns * kWordBits / matrix.format.bits;
    COHORT_TRY_VOID(check_quantized(matrix, prefix));
    return matrix;
  }

  Result<void> set_config(std::string_view text) {
    auto parsed = parse_json(text);
    if (!parsed) return fail_in(place + ": config.json", parsed.error());
    config = std::move(*parsed);
    auto checked = check_config_limits(config);
    if (!checked) return fail_in(place, checked.error());
    auto quant = QuantizationConfig::parse(config);
    if (!quant) return fail_in(place + ": config.json", quant.error());
    quantization = std::move(*quant);
    return {};
  }
};

Checkpoint::Checkpoint(std::unique_ptr<State> state) : state_(std::move(state)) {}
Checkpoint::Checkpoint(Checkpoint&&) noexcept = default;
Checkpoint& Checkpoint::operator=(Checkpoint&&) noexcept = default;
Checkpoint::~Checkpoint() = default;

Result<Checkpoint> Checkpoint::open(const fs::path& path) {
  auto state = std::make_unique<State>();
  state->place = path.string();
  const bool single = fs::is_regular_file(path);
  if (!single && !fs::is_directory(path)) {
    return fail(Code::kNotFound, "{} is neither a folder nor a file", path.string());
  }
  const fs::path folder = single ? path.parent_path() : path;
  COHORT_TRY(const std::string config, read_text_file(folder / "config.json", kMaxConfigBytes));
  COHORT_TRY_VOID(state->set_config(config));
  WeightFiles weights{.paths = {path}, .index = {}};
  if (!single) {
    COHORT_TRY(weights, find_weight_files(folder));
  }
  std::vector<FileTensors> headers;
  for (const fs::path& file : weights.paths) {
    COHORT_TRY(MappedFile mapped, MappedFile::open(file));
    COHORT_TRY(headers.emplace_back(), add_file(mapped.bytes(), file.string(), state->tensors));
    headers.back().file = file.filename().string();
    state->files.push_back(std::move(mapped));
  }
  auto checked = check_index(headers, weights.index);
  if (!checked) return fail_in(state->place, checked.error());
  return Checkpoint(std::move(state));
}

Result<Checkpoint> Checkpoint::from_memory(std::string_view config_json,
                                           std::vector<std::span<const std::byte>> safetensors) {
  auto state = std::make_unique<State>();
  state->place = "built-in model";
  COHORT_TRY_VOID(state->set_config(config_json));
  std::vector<FileTensors> headers;
  for (size_t i = 0; i < safetensors.size(); ++i) {
    const std::string name = fmt::format("{} file {}", state->place, i);
    COHORT_TRY(headers.emplace_back(), add_file(safetensors[i], name, state->tensors));
  }
  COHORT_TRY_VOID(check_index(headers, {}));
  return Checkpoint(std::move(state));
}

const Json& Checkpoint::config() const { return state_->config; }

std::vector<std::string> Checkpoint::names() const {
  std::vector<std::string> names;
  names.reserve(state_->tensors.size());
  for (const auto& [name, view] : state_->tensors) names.push_back(name);
  return names;
}

const TensorView* Checkpoint::find(std::string_view name) const { return state_->find(name); }

Result<TensorView> Checkpoint::tensor(std::string_view name) const {
  auto view = state_->tensor(name);
  if (!view) return fail_in(state_->place, view.error());
  return view;
}

Result<MatrixView> Checkpoint::matrix(std::string_view prefix) const {
  auto matrix = state_->matrix(std::string(prefix));
  if (!matrix) return fail_in(state_->place, matrix.error());
  return matrix;
}

uint64_t Checkpoint::size_bytes() const {
  uint64_t size = 0;
  for (const auto& [name, view] : state_->tensors) size += view.size_bytes();
  return size;
}

void Checkpoint::release_pages(const TensorView& view) const {
  for (const MappedFile& file : state_->files) {
    const std::span<const std::byte> bytes = file.bytes();
    if (view.data >= bytes.data() && view.data < bytes.data() + bytes.size()) {
      file.release({view.data, view.size_bytes()});
      return;
    }
  }
}

}  // namespace cohort::formats
