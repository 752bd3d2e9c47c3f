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
// Prefill reads all activations for each task, so tasks are as wide as the kernel takes, as long as each worker has some.
constexpr int64_t kLeastPrefillPanels = 4, kPrefillTasksAWorker = 4;

// One matrix to run through: a segment of a product's weights.
struct Stream {
  const Product* product = nullptr;
  PackedMatrix packed;
  int32_t first_row = 0;  // of `packed` in the product's result
  int64_t panel_bytes = 0;
  int64_t panels = 0;
  int64_t grain = 1;  // panels a task
  int64_t first_task = 0;
};

enum class Place { kOfEveryStep, kOfThisStep };

// A product's activations as the kernels take them.
struct Operand {
  kernels::QuantizedRows quantized;
  kernels::Bf16Rows rounded;
  std::byte* packed = nullptr;     // for gemm_
  std::byte* packed_i8 = nullptr;  // for prefill_i8
};

class Run {
 public:
  Run(const Compute& compute, std::span<const Product> products, Math math, Place place)
      : compute_(compute),
        products_(products),
        math_(math),
        place_(place),
        matmul_(compute.kernels.matmul),
        gemm_(math == Math::kF32 ? matmul_.prefill_f32 : matmul_.prefill_fast),
        scratch_(compute.arena) {}

  void operator()() {
    plan();
    tell_who_reads_ahead();
    prepare_operands();
    if (gated_) make_pairs();
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
    size_t most = 0;
    for (const Product& product : products_) most += product.weights->segments.size();
    Stream* room = scratch_.make<Stream>(static_cast<int64_t>(most));
    std::uninitialized_value_construct_n(room, most);
    streams_ = {room, 0};
    for (const Product& product : products_) {
      gated_ = gated_ || product.gate.has_value();
      for (const Segment& segment : product.weights->segments) {
        add_stream({.product = &product, .packed = segment.packed, .first_row = segment.first_row});
      }
    }
  }

  void add_stream(Stream stream) {
    stream.panel_bytes =
        kernels::panel_layout(stream.packed.format, stream.packed.columns).panel_bytes;
    stream.panels = kernels::panel_count(stream.packed.rows);
    stream.grain = decodes(*stream.product)
                       ? std::max<int64_t>(2, kDecodeGrainBytes / stream.panel_bytes / 2 * 2)
                       : prefill_grain(stream);
    stream.first_task = tasks_;
    tasks_ += divide_up(stream.panels, stream.grain);
    most_rows_ = std::max<int64_t>(most_rows_, stream.product->x.rows);
    most_columns_ = std::max(most_columns_, stream.grain * kernels::kPanelRows);
    streams_ = {streams_.data(), streams_.size() + 1};
    streams_.back() = stream;
  }

  int64_t prefill_grain(const Stream& stream) const {
    const auto& gemm = prefills_in_8_bits(stream.packed) ? matmul_.prefill_i8 : gemm_;
    const int64_t fair = stream.panels / (kPrefillTasksAWorker * compute_.pool.workers()) / 2 * 2;
    return std::max(kLeastPrefillPanels, std::min(gemm.panels_at_once, fair));
  }

  void tell_who_reads_ahead() {
    if (place_ == Place::kOfThisStep || !decodes(products_[0])) return compute_.ahead.pause();
    compute_.ahead.begin(products_[0].weights, [this] {
      std::vector<Stretch> stretches;
      for (int worker = 0; worker < compute_.pool.workers(); ++worker)
        stretches.push_back(stretch_of(worker));
      return stretches;
    });
  }

  // From where the worker begins to the end of its share, or of the stream it begins in.
  Stretch stretch_of(int worker) const {
    const auto share = WorkerPool::share_of(tasks_, worker, compute_.pool.workers());
    if (share.begin == share.end) return {};
    const Stream& stream = stream_of(share.begin);
    const int64_t first = (share.begin - stream.first_task) * stream.grain;
    const int64_t end = std::min(stream.panels, (share.end - stream.first_task) * stream.grain);
    return {stream.packed.panels + first * stream.panel_bytes, (end - first) * stream.panel_bytes};
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

  // Room for each worker to hold a gated task's products.
  void make_pairs() {
    pair_floats_ = most_rows_ * most_columns_;
    pairs_ = scratch_.make<float>(pair_floats_ * compute_.pool.workers());
  }

  const Stream& stream_of(int64_t task) const {
    const auto after =
        std::upper_bound(streams_.begin(), streams_.end(), task,
                         [](int64_t t, const Stream& stream) { return t < stream.first_task; });
    return *(after - 1);
  }

  void do_task(int64_t task, int worker) {
    const Stream& stream = stream_of(task);
    const int64_t first = (task - stream.first_task) * stream.grain;
    const Range panels = {first, std::min(stream.grain, stream.panels - first)};
    if (stream.product->gate) return do_gated(stream, panels, worker);
    const Rows& y = stream.product->y;
    product_of(stream, panels, {y.data + stream.first_row, y.stride});
    add_bias(stream, panels, {y.data + stream.first_row + first * kernels::kPanelRows, y.stride});
  }

  void do_gated(const Stream& stream, Range panels, int worker) {
    const int64_t stride = most_columns_;
    float* both = pairs_ + pair_floats_ * worker;
    product_of(stream, panels, {both - panels.first * kernels::kPanelRows, stride});
    add_bias(stream, panels, {both, stride});
    const Rows& y = stream.product->y;
    const kernels::Gate kind = gate_of(*stream.product->gate);
    const int64_t first = panels.first / 2 * kernels::kPanelRows;
    const int64_t count =
        std::min<int64_t>(panels.count / 2 * kernels::kPanelRows, y.columns - first);
    for (int32_t r = 0; r < y.rows; ++r) {
      compute_.kernels.vector.gate_paired(kind, both + r * stride, y.row(r) + first, count);
    }
  }

  void product_of(const Stream& stream, Range panels, kernels::Output y) {
    const PackedMatrix& w = stream.packed;
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

  // `y` holds the panels' columns from its first float on.
  void add_bias(const Stream& stream, Range panels, kernels::Output y) {
    const Weights& weights = *stream.product->weights;
    if (weights.bias.empty()) return;
    const int64_t first = panels.first * kernels::kPanelRows;
    const int64_t count =
        std::min<int64_t>(panels.count * kernels::kPanelRows, stream.packed.rows - first);
    const float* bias = weights.bias.data() + stream.first_row + first;
    for (int32_t r = 0; r < stream.product->y.rows; ++r) {
      compute_.kernels.vector.add(y.data + r * y.stride, bias, count);
    }
  }

  const Compute& compute_;
  std::span<const Product> products_;
  Math math_;
  Place place_;
  const kernels::MatmulKernels& matmul_;
  const kernels::GemmKernels& gemm_;
  Scratch scratch_;
  std::span<Stream> streams_;
  std::span<Operand> operands_;
  int64_t tasks_ = 0;
  bool gated_ = false;
  int64_t most_rows_ = 0;
  int64_t most_columns_ = 0;
  int64_t pair_floats_ = 0;
  float* pairs_ = nullptr;
};

void check(const Product& product) {
  const Weights& w = *product.weights;
  COHORT_CHECK(product.x.columns == w.columns && product.x.rows == product.y.rows);
  COHORT_CHECK(product.y.columns * (product.gate ? 2 : 1) == w.rows);
}

bool gates_apart(const Product& product) { return product.gate && !product.weights->paired; }

void apply_gate(const Compute& compute, const Product& product, Rows both) {
  const Rows& y = product.y;
  const kernels::Gate kind = gate_of(*product.gate);
  for_each_row(compute, y.rows, y.columns, [&](int32_t r) {
    const float* gate = both.row(r);
    compute.kernels.vector.gate(kind, gate, gate + y.columns, y.row(r), y.columns);
  });
}

// Gated weights that are not paired are multiplied whole, and then gated.
void multiply_apart(const Compute& compute, std::span<const Product> products, Math math,
                    Place place) {
  Scratch scratch(compute.arena);
  const std::span<Product> whole(scratch.make<Product>(static_cast<int64_t>(products.size())),
                                 products.size());
  std::ranges::uninitialized_copy(products, whole);
  for (Product& product : whole) {
    if (!gates_apart(product)) continue;
    const Rows& y = product.y;
    const int64_t columns = 2 * int64_t{y.columns};
    product.y = {scratch.make<float>(y.rows * columns), columns, y.rows, product.weights->rows};
    product.gate.reset();
  }
  Run(compute, whole, math, place)();
  for (size_t i = 0; i < products.size(); ++i) {
    if (gates_apart(products[i])) apply_gate(compute, products[i], whole[i].y);
  }
}

void run(const Compute& compute, std::span<const Product> products, Math math, Place place) {
  for (const Product& product : products) check(product);
  std::ranges::any_of(products, gates_apart) ? multiply_apart(compute, products, math, place)
                                             : Run(compute, products, math, place)();
}

}  // namespace

void multiply(const Compute& compute, const Product& product) {
  run(compute, {&product, 1}, compute.math, Place::kOfEveryStep);
}

void multiply(const Compute& compute, std::span<const Product> products, Math math) {
  run(compute, products, math, Place::kOfThisStep);
}

}  // namespace cohort::backend
