#include "backend/cpu/products.h"

#include <algorithm>
#include <memory>

#include "base/bytes.h"
#include "base/check.h"

namespace cohort::backend {
namespace {

using kernels::PackedMatrix;
using kernels::Range;

// A worker's share at a time. Decode streams this many bytes of weights; small enough that nobody waits long for the last
// one, large enough that the prefetch across its end does not matter. An even number of panels, which kernels take in pairs.
constexpr int64_t kDecodeGrainBytes = 96 << 10;
constexpr int64_t kPrefillPanels = 4;

// One matrix to run through: a segment of a product's weights, or the two halves of a gated one together.
struct Stream {
  const Product* product = nullptr;
  PackedMatrix first;
  PackedMatrix second;    // of a gated product: the other half; else no panels
  int32_t first_row = 0;  // of `first` in the product's result
  int64_t panels = 0;
  int64_t grain = 1;  // panels a task
  int64_t first_task = 0;
};

// A product's activations as the kernels take them.
struct Operand {
  kernels::QuantizedRows quantized;
  kernels::Bf16Rows rounded;
  std::byte* packed = nullptr;     // for gemm_
  std::byte* packed_i8 = nullptr;  // for prefill_i8
};

class Run {
 public:
  Run(const Compute& compute, std::span<const Product> products, Math math)
      : compute_(compute),
        products_(products),
        math_(math),
        matmul_(compute.kernels.matmul),
        gemm_(math == Math::kF32 ? matmul_.prefill_f32 : matmul_.prefill_fast),
        scratch_(compute.arena) {}

  void operator()() {
    plan();
    prepare_operands();
    if (gated_) make_halves();
    compute_.pool.for_each(tasks_, 1, [&](int64_t first, int64_t count, int worker) {
      for (int64_t task = first; task < first + count; ++task) do_task(task, worker);
    });
  }

 private:
  static bool decodes(const Product& product) { return product.x.rows <= kernels::kMaxDecodeRows; }
  bool in_8_bits(const PackedMatrix& w) const {
    return math_ != Math::kF32 && matmul_.has_decode_i8(w.format);
  }
  bool in_bf16(const PackedMatrix& w) const {
    return math_ != Math::kF32 && matmul_.has_decode_bf16(w.format);
  }
  bool prefills_in_8_bits(const PackedMatrix& w) const {
    return math_ == Math::kInt8 && matmul_.has_prefill_i8(w.format);
  }

  void plan() {
    int64_t most = 0;
    for (const Product& product : products_) {
      most += product.gate ? 1 : static_cast<int64_t>(product.weights->segments.size());
    }
    Stream* room = scratch_.make<Stream>(most);
    std::uninitialized_value_construct_n(room, most);
    streams_ = {room, 0};
    for (const Product& product : products_) {
      if (product.gate) {
        add_gated(product);
        continue;
      }
      for (const Segment& segment : product.weights->segments) {
        add_stream({.product = &product, .first = segment.packed, .first_row = segment.first_row});
      }
    }
  }

  void add_gated(const Product& product) {
    const int32_t half = product.weights->rows / 2;
    const WeightRows gate = rows_of(*product.weights, 0, half),
                     up = rows_of(*product.weights, half, half);
    COHORT_CHECK(gate.whole && up.whole);
    add_stream({.product = &product, .first = gate.packed, .second = up.packed});
    gated_ = true;
  }

  void add_stream(Stream stream) {
    const int64_t panel_bytes =
        kernels::panel_layout(stream.first.format, stream.first.columns).panel_bytes;
    stream.panels = kernels::panel_count(stream.first.rows);
    stream.grain = decodes(*stream.product)
                       ? std::max<int64_t>(2, kDecodeGrainBytes / panel_bytes / 2 * 2)
                       : kPrefillPanels;
    stream.first_task = tasks_;
    tasks_ += divide_up(stream.panels, stream.grain);
    most_rows_ = std::max<int64_t>(most_rows_, stream.product->x.rows);
    most_half_columns_ = std::max(most_half_columns_, stream.grain * kernels::kPanelRows);
    streams_ = {streams_.data(), streams_.size() + 1};
    streams_.back() = stream;
  }

  // ---- activations ----

  void prepare_operands() {
    operands_ = {scratch_.make<Operand>(static_cast<int64_t>(products_.size())), products_.size()};
    std::ranges::uninitialized_value_construct(operands_);
    for (size_t i = 0; i < products_.size(); ++i) {
      decodes(products_[i]) ? narrow(products_[i], operands_[i]) : pack(products_[i], operands_[i]);
    }
  }

  void narrow(const Product& product, Operand& operand) {
    const auto& segments = product.weights->segments;
    const auto any = [&](auto takes) {
      return std::any_of(segments.begin(), segments.end(),
                         [&](const Segment& s) { return (this->*takes)(s.packed); });
    };
    if (any(&Run::in_8_bits)) quantize(product, operand);
    if (any(&Run::in_bf16)) round(product, operand);
  }

  void quantize(const Product& product, Operand& operand) {
    const Rows& x = product.x;
    auto* groups =
        scratch_.make<kernels::QuantizedGroup>(kernels::quantized_groups(x.rows, x.columns));
    const int64_t stride = kernels::quantized_stride(x.rows);
    for (int32_t r = 0; r < x.rows; ++r) {
      matmul_.quantize_activation(x.row(r), x.columns, stride, groups + r);
    }
    operand.quantized = {groups, x.rows};
  }

  void round(const Product& product, Operand& operand) {
    const Rows& x = product.x;
    auto* groups = scratch_.make<kernels::Bf16Group>(kernels::quantized_groups(x.rows, x.columns));
    const int64_t stride = kernels::quantized_stride(x.rows);
    for (int32_t r = 0; r < x.rows; ++r) {
      matmul_.round_activation(x.row(r), x.columns, stride, groups + r);
    }
    operand.rounded = {groups, x.rows};
  }

  void pack(const Product& product, Operand& operand) {
    const auto& segments = product.weights->segments;
    const auto in_bytes = [&](const Segment& s) { return prefills_in_8_bits(s.packed); };
    if (std::any_of(segments.begin(), segments.end(), in_bytes))
      operand.packed_i8 = pack_for(matmul_.prefill_i8, product.x);
    if (!std::all_of(segments.begin(), segments.end(), in_bytes))
      operand.packed = pack_for(gemm_, product.x);
  }

  std::byte* pack_for(const kernels::GemmKernels& gemm, const Rows& x) {
    auto* packed =
        scratch_.make<std::byte>(static_cast<int64_t>(gemm.packed_bytes(x.rows, x.columns)));
    compute_.pool.for_each(gemm.tile_count(x.rows), 1, [&](int64_t first, int64_t count, int) {
      gemm.pack({x.data, x.stride, x.rows, x.columns}, {first, count}, packed);
    });
    return packed;
  }

  // ---- tasks ----

  // Room for each worker to hold both halves of a gated task's result.
  void make_halves() {
    half_floats_ = most_rows_ * most_half_columns_;
    halves_ = scratch_.make<float>(2 * half_floats_ * compute_.pool.workers());
  }

  void do_task(int64_t task, int worker) {
    const auto after =
        std::upper_bound(streams_.begin(), streams_.end(), task,
                         [](int64_t t, const Stream& stream) { return t < stream.first_task; });
    const Stream& stream = *(after - 1);
    const int64_t first = (task - stream.first_task) * stream.grain;
    const Range panels = {first, std::min(stream.grain, stream.panels - first)};
    if (stream.second.panels != nullptr) return do_gated(stream, panels, worker);
    const Rows& y = stream.product->y;
    product_of(stream, stream.first, panels, {y.data + stream.first_row, y.stride});
    add_bias(stream, stream.first_row, panels,
             {y.data + stream.first_row + first * kernels::kPanelRows, y.stride});
  }

  void do_gated(const Stream& stream, Range panels, int worker) {
    const int64_t first = panels.first * kernels::kPanelRows;
    const int64_t count =
        std::min<int64_t>(panels.count * kernels::kPanelRows, stream.first.rows - first);
    const int64_t stride = most_half_columns_;
    float* gate = halves_ + 2 * half_floats_ * worker;
    float* up = gate + half_floats_;
    product_of(stream, stream.first, panels, {gate - first, stride});
    product_of(stream, stream.second, panels, {up - first, stride});
    add_bias(stream, 0, panels, {gate, stride});
    add_bias(stream, static_cast<int32_t>(stream.first.rows), panels, {up, stride});
    const Rows& y = stream.product->y;
    const kernels::Gate kind = gate_of(*stream.product->gate);
    for (int32_t r = 0; r < y.rows; ++r) {
      compute_.kernels.vector.gate(kind, gate + r * stride, up + r * stride, y.row(r) + first,
                                   count);
    }
  }

  void product_of(const Stream& stream, const PackedMatrix& w, Range panels, kernels::Output y) {
    const Rows& x = stream.product->x;
    const Operand& operand = operands_[stream.product - products_.data()];
    if (!decodes(*stream.product)) {
      prefills_in_8_bits(w) ? matmul_.prefill_i8.multiply(w, panels, operand.packed_i8, x.rows, y)
                            : gemm_.multiply(w, panels, operand.packed, x.rows, y);
    } else if (in_8_bits(w)) {
      matmul_.decode_i8(w, panels, operand.quantized, y);
    } else if (in_bf16(w)) {
      matmul_.decode_bf16(w, panels, operand.rounded, y);
    } else {
      matmul_.decode_f32(w, panels, {x.data, x.stride, x.rows, x.columns}, y);
    }
  }

  // `y` holds the panels' columns from its first float on; `first_row` is that of the stream's matrix in the bias.
  void add_bias(const Stream& stream, int32_t first_row, Range panels, kernels::Output y) {
    const Weights& weights = *stream.product->weights;
    if (weights.bias.empty()) return;
    const int64_t first = panels.first * kernels::kPanelRows;
    const int64_t count =
        std::min<int64_t>(panels.count * kernels::kPanelRows, stream.first.rows - first);
    for (int32_t r = 0; r < stream.product->y.rows; ++r) {
      compute_.kernels.vector.add(y.data + r * y.stride, weights.bias.data() + first_row + first,
                                  count);
    }
  }

  const Compute& compute_;
  std::span<const Product> products_;
  Math math_;
  const kernels::MatmulKernels& matmul_;
  const kernels::GemmKernels& gemm_;
  Scratch scratch_;
  std::span<Stream> streams_;
  std::span<Operand> operands_;
  int64_t tasks_ = 0;
  bool gated_ = false;
  int64_t most_rows_ = 0;
  int64_t most_half_columns_ = 0;
  int64_t half_floats_ = 0;
  float* halves_ = nullptr;
};

void check(const Product& product) {
  const Weights& w = *product.weights;
  COHORT_CHECK(product.x.columns == w.columns && product.x.rows == product.y.rows);
  COHORT_CHECK(product.y.columns * (product.gate ? 2 : 1) == w.rows);
}

}  // namespace

void multiply(const Compute& compute, std::span<const Product> products, Math math) {
  for (const Product& product : products) check(product);
  Run(compute, products, math)();
}

}  // namespace cohort::backend
