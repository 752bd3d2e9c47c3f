#include "backend/mlx/weights.h"

#include <algorithm>
#include <cstring>

#include "backend/parts.h"
#include "base/check.h"

namespace cohort::backend::mlx_parts {
namespace {

// One kind of tensor of a matrix (codes, scales or biases), as the range of bytes that is kept of each row.
struct RowBytes {
  const std::byte* data = nullptr;
  size_t row_bytes = 0;  // of the checkpoint
  size_t first_byte = 0, kept_bytes = 0;
};

RowBytes row_bytes(const TensorView& tensor, const MatrixView& view, RowRange columns) {
  const int64_t all_rows = std::max<int64_t>(view.experts, 1) * view.rows;
  const size_t row = tensor.size_bytes() / static_cast<size_t>(all_rows);
  const auto part = [&](int64_t count) { return static_cast<size_t>(row * count / view.columns); };
  return {tensor.data, row, part(columns.first), part(columns.count)};
}

class Stack {
 public:
  Stack(std::span<const MatrixPart> parts, const StackOptions& options)
      : parts_(parts),
        entries_(options.entries.value_or(RowRange{0, 1})),
        leading_(options.entries) {
    for (const MatrixPart& part : parts) rows_ += rows_of(part).count;
  }
  int rows() const { return static_cast<int>(rows_); }

  static RowRange rows_of(const MatrixPart& part) { return resolve(part.rows, part.view.rows); }
  static RowRange columns_of(const MatrixPart& part) {
    return resolve(part.columns, part.view.columns);
  }

  uint64_t size_bytes(TensorView MatrixView::*member) const {
    return static_cast<uint64_t>(entries_.count) * rows_ * row_of(member, parts_[0]).kept_bytes;
  }

  // The kept rows of all parts, entry by entry.
  mx::array copy(TensorView MatrixView::*member) const {
    const mx::Dtype type = mlx_dtype((parts_[0].view.*member).dtype);
    const size_t row = row_of(member, parts_[0]).kept_bytes;
    mx::allocator::Buffer buffer = mx::allocator::malloc(size_bytes(member));
    auto* to = static_cast<std::byte*>(buffer.raw_ptr());
    for (int64_t e = entries_.first; e < entries_.first + entries_.count; ++e) {
      for (const MatrixPart& part : parts_) to = copy_part(member, part, e, to);
    }
    mx::Shape shape{rows(), static_cast<int>(row / mx::size_of(type))};
    if (leading_) shape.insert(shape.begin(), static_cast<int>(entries_.count));
    return mx::array(buffer, std::move(shape), type);
  }

  mx::array bias(std::span<const float> all, int64_t first_row) const {
    const auto entry_size = all.size() / static_cast<size_t>(entries_.count);
    std::vector<float> kept;
    for (int64_t e = 0; e < entries_.count; ++e) {
      const auto rows = all.subspan(e * entry_size + first_row, static_cast<size_t>(rows_));
      kept.insert(kept.end(), rows.begin(), rows.end());
    }
    mx::Shape shape{rows()};
    if (leading_) shape.insert(shape.begin(), static_cast<int>(entries_.count));
    return mx::array(kept.data(), shape, mx::float32);
  }

 private:
  static RowBytes row_of(TensorView MatrixView::*member, const MatrixPart& part) {
    return row_bytes(part.view.*member, part.view, columns_of(part));
  }

  static std::byte* copy_part(TensorView MatrixView::*member, const MatrixPart& part, int64_t entry,
                              std::byte* to) {
    const RowBytes bytes = row_of(member, part);
    const RowRange rows = rows_of(part);
    const std::byte* from = bytes.data + (entry * part.view.rows + rows.first) * bytes.row_bytes;
    if (bytes.kept_bytes == bytes.row_bytes) {
      const size_t size = bytes.row_bytes * static_cast<size_t>(rows.count);
      std::memcpy(to, from, size);
      return to + size;
    }
    for (int64_t r = 0; r < rows.count; ++r, to += bytes.kept_bytes) {
      std::memcpy(to, from + r * bytes.row_bytes + bytes.first_byte, bytes.kept_bytes);
    }
    return to;
  }

  std::span<const MatrixPart> parts_;
  RowRange entries_;
  bool leading_;
  int64_t rows_ = 0;
};

bool same_format(const MatrixView& a, const MatrixView& b) {
  return a.format == b.format && a.weight.dtype == b.weight.dtype &&
         a.scales.dtype == b.scales.dtype;
}

mx::array settled(const mx::array& x, mx::Dtype type) {
  mx::array made = mx::astype(x, type);
  mx::eval(made);
  return made;
}

// What a product is made in. MLX's CPU kernels sum quantised products up in the type of x, where Metal's sum in float32:
// in bf16 such sums would be no measure of what a GPU computes. Gathered ones they have in float32 alone.
mx::Dtype product_type(bool quantised, bool gathered, const Precision& precision) {
  const bool cpu = mx::default_device() == mx::Device::cpu;
  return cpu && (quantised || gathered) ? mx::float32 : precision.activations;
}

Segment make_segment(const Stack& stack, const MatrixView& view, const StackOptions& options,
                     const Precision& precision) {
  const bool quantised = view.format.mode != QuantMode::kNone;
  const mx::Dtype type = product_type(quantised, options.gathered, precision);
  const auto widened = [&](const mx::array& x) {
    return precision.widen || type == mx::float32 ? settled(x, type) : x;
  };
  Segment segment{.format = view.format, .weight = stack.copy(&MatrixView::weight), .type = type};
  if (!quantised) {
    segment.weight = widened(segment.weight);
    segment.type = segment.weight.dtype();
    return segment;
  }
  segment.scales = stack.copy(&MatrixView::scales);
  if (view.format.mode != QuantMode::kAffine) return segment;
  segment.scales = widened(*segment.scales);
  segment.biases = widened(stack.copy(&MatrixView::biases));
  segment.type = segment.scales->dtype();
  return segment;
}

mx::array product(const Segment& segment, const mx::array& x) {
  if (!segment.scales) return mx::matmul(x, mx::swapaxes(segment.weight, -1, -2));
  return mx::quantized_matmul(x, segment.weight, *segment.scales, segment.biases,
                              /*transpose=*/true, segment.format.group_size, segment.format.bits,
                              std::string(quant_mode_name(segment.format.mode)));
}

mx::array gathered_product(const Segment& segment, const mx::array& x, const mx::array& entries,
                           bool sorted) {
  if (!segment.scales) {
    return mx::gather_mm(x, mx::swapaxes(segment.weight, -1, -2), std::nullopt, entries, sorted);
  }
  return mx::gather_qmm(x, segment.weight, *segment.scales, segment.biases, std::nullopt, entries,
                        /*transpose=*/true, segment.format.group_size, segment.format.bits,
                        std::string(quant_mode_name(segment.format.mode)), sorted);
}

}  // namespace

Result<Linear> load_linear(const StackOptions& options, const Precision& precision,
                           MemoryBudget& budget) {
  Linear linear;
  const std::span<const MatrixPart> parts = options.parts;
  for (size_t first = 0; first < parts.size();) {
    size_t count = 1;
    while (first + count < parts.size() &&
           same_format(parts[first].view, parts[first + count].view))
      ++count;
    const Stack stack(parts.subspan(first, count), options);
    const MatrixView& view = parts[first].view;
    const auto columns = static_cast<int>(Stack::columns_of(parts[first]).count);
    COHORT_CHECK(linear.columns == 0 || linear.columns == columns);
    uint64_t wanted = stack.size_bytes(&MatrixView::weight);
    if (view.scales.data != nullptr) wanted += stack.size_bytes(&MatrixView::scales);
    if (view.biases.data != nullptr) wanted += stack.size_bytes(&MatrixView::biases);
    COHORT_TRY_VOID(budget.reserve("the weights", wanted));
    COHORT_TRY(Segment segment,
               caught([&] { return make_segment(stack, view, options, precision); }));
    if (!options.bias.empty()) {
      segment.bias = stack.bias(options.bias, linear.rows);
    }
    linear.segments.push_back(std::move(segment));
    linear.rows += stack.rows();
    linear.columns = columns;
    first += count;
  }
  return linear;
}

uint64_t size_of(const Linear& weights) {
  uint64_t size = 0;
  for (const Segment& segment : weights.segments) {
    size += segment.weight.nbytes();
    if (segment.scales) size += segment.scales->nbytes();
    if (segment.biases) size += segment.biases->nbytes();
  }
  return size;
}

std::vector<mx::array> multiply(const Linear& weights, const mx::array& x,
                                std::optional<mx::Dtype> in) {
  std::vector<mx::array> made;
  for (const Segment& segment : weights.segments) {
    mx::array y = product(segment, mx::astype(x, in.value_or(segment.type)));
    if (segment.bias) y = mx::add(y, mx::astype(*segment.bias, y.dtype()));
    made.push_back(mx::astype(y, in.value_or(x.dtype())));
  }
  return made;
}

mx::array gather(const Linear& weights, const mx::array& x, const mx::array& entries, bool sorted) {
  std::vector<mx::array> made;
  for (const Segment& segment : weights.segments) {
    mx::array y = gathered_product(segment, mx::astype(x, segment.type), entries, sorted);
    if (segment.bias) {
      const mx::array bias = mx::astype(mx::take(*segment.bias, entries, 0), y.dtype());
      y = mx::add(y, mx::expand_dims(bias, -2));
    }
    made.push_back(mx::astype(y, x.dtype()));
  }
  return made.size() == 1 ? made[0] : mx::concatenate(std::move(made), -1);
}

}  // namespace cohort::backend::mlx_parts
