#include "models/loader.h"

#include "base/bytes.h"

namespace cohort::models {
namespace {

Shape shape_of(const MatrixView& view) {
  return view.experts ? Shape{view.experts, view.rows, view.columns}
                      : Shape{view.rows, view.columns};
}

// `view`'s part along the leading axis.
TensorView slice(const TensorView& view, Range range) {
  TensorView part = view;
  const size_t entry = view.size_bytes() / static_cast<size_t>(view.shape[0]);
  part.data = view.data + entry * static_cast<size_t>(range.first);
  part.shape = Shape{range.count};
  for (int i = 1; i < view.shape.rank(); ++i) part.shape.push_back(view.shape[i]);
  return part;
}

}  // namespace

Result<MatrixView> Loader::view(const std::string& prefix, int64_t rows, int64_t columns,
                                int64_t experts) const {
  COHORT_TRY(const MatrixView view, checkpoint_.matrix(prefix));
  if (view.rows != rows || view.columns != columns || view.experts != experts) {
    const Shape wanted = experts ? Shape{experts, rows, columns} : Shape{rows, columns};
    return fail(Code::kDataLoss, "tensor '{}.weight' has shape {}; config.json asks for {}", prefix,
                shape_of(view).to_string(), wanted.to_string());
  }
  return view;
}

Result<std::vector<float>> Loader::floats(const std::string& name, const Shape& shape) const {
  COHORT_TRY(const TensorView view, checkpoint_.tensor(name));
  if (view.shape != shape) {
    return fail(Code::kDataLoss, "tensor '{}' has shape {}; config.json asks for {}", name,
                view.shape.to_string(), shape.to_string());
  }
  const bool plain =
      view.dtype == DType::kF32 || view.dtype == DType::kF16 || view.dtype == DType::kBF16;
  if (!plain) {
    return fail(Code::kDataLoss, "tensor '{}' is {}; F32, F16 or BF16 is expected", name,
                dtype_name(view.dtype));
  }
  std::vector<float> values(static_cast<size_t>(shape.elements()));
  const MatrixView row{.rows = 1, .columns = shape.elements(), .weight = view};
  dequantize_row(row, 0, 0, values.data());
  return values;
}

Result<std::vector<float>> Loader::bias(const std::string& prefix, const Shape& shape,
                                        bool wanted) const {
  const std::string name = prefix + ".bias";
  if (wanted) return floats(name, shape);
  if (has(name)) {
    return fail(Code::kDataLoss, "tensor '{}' is there, but by config.json there is no bias", name);
  }
  return std::vector<float>{};
}

Result<backend::Vector> Loader::vector(const std::string& name, int64_t size) const {
  COHORT_TRY(const std::vector<float> values, floats(name, Shape{size}));
  return backend_.load_vector(values);
}

void Loader::release(const MatrixView& view) const {
  for (const TensorView* tensor : {&view.weight, &view.scales, &view.biases}) {
    if (tensor->data != nullptr) checkpoint_.release_pages(*tensor);
  }
}

Result<backend::Matrix> Loader::load_matrix(std::span<const backend::MatrixPart> parts,
                                            std::span<const float> bias) const {
  auto matrix = backend_.load_matrix(parts, bias);
  const std::byte* last = nullptr;  // parts of one tensor follow each other
  for (const backend::MatrixPart& part : parts) {
    if (part.view.weight.data != last) release(part.view);
    last = part.view.weight.data;
  }
  return matrix;
}

Result<backend::Matrix> Loader::load_gate_up(const backend::MatrixPart& gate,
                                             const backend::MatrixPart& up,
                                             std::span<const float> bias) const {
  auto matrix = backend_.load_gate_up(gate, up, bias);
  for (const backend::MatrixPart* part : {&gate, &up}) release(part->view);
  return matrix;
}

Result<backend::Matrix> Loader::load_head_matrices(const MatrixView& view) const {
  auto matrix = backend_.load_head_matrices(whole(view));
  release(view);
  return matrix;
}

Result<backend::ExpertBank> Loader::load_experts(const backend::ExpertParts& parts) const {
  auto bank = backend_.load_experts(parts);
  for (const backend::MatrixPart* part : {&parts.gate, &parts.up, &parts.down}) release(part->view);
  return bank;
}

Result<backend::Matrix> Loader::load_summed(const std::string& prefix, const MatrixView& view,
                                            Range columns, bool has_bias) const {
  COHORT_TRY(std::vector<float> values, bias(prefix, Shape{view.rows}, has_bias));
  if (!first_rank()) values.clear();
  const backend::MatrixPart part = columns_of(view, columns);
  return load_matrix({&part, 1}, values);
}

int Loader::add_kv_layer(const backend::KvLayerSpec& spec) {
  kv_layers_.push_back(spec);
  return static_cast<int>(kv_layers_.size()) - 1;
}

backend::RowRange row_range(Range range) { return {range.first, range.count}; }

backend::MatrixPart whole(const MatrixView& view) {
  return {.view = view, .rows = {}, .columns = {}};
}

backend::MatrixPart rows_of(const MatrixView& view, Range rows) {
  return {.view = view, .rows = row_range(rows), .columns = {}};
}

backend::MatrixPart columns_of(const MatrixView& view, Range columns) {
  return {.view = view, .rows = {}, .columns = row_range(columns)};
}

MatrixView experts_of(const MatrixView& view, Range experts) {
  MatrixView part = view;
  part.experts = experts.count;
  part.weight = slice(view.weight, experts);
  if (view.scales.data) part.scales = slice(view.scales, experts);
  if (view.biases.data) part.biases = slice(view.biases, experts);
  return part;
}

int64_t column_step(const Shard& shard, const MatrixView& view) {
  return column_step(shard, view.columns, view.format.group_size);
}

}  // namespace cohort::models
