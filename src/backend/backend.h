// The one compute seam. A model (models/) is written once against this header; backend/cpu computes at once, backend/mlx
// builds a lazy graph that read() evaluates. So: handles are opaque, ops never return numbers, and only read() waits.
//
// A step is   begin_step(plan) ... ops ... read(logits).
// Activations are float32 [rows, columns] (a backend may keep them narrower), rows as in the StepPlan unless said
// otherwise. Handles of a step die at the next begin_step(); those made inside a Scope die with it.
//
// One thread: that which made the backend. Ops check shapes (COHORT_CHECK): a mismatch is a bug in a model file, since
// the checkpoint's shapes are checked when the weights are loaded.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backend/step_plan.h"
#include "base/result.h"
#include "tensor/quantization.h"

namespace cohort::transport {
class Group;
}

namespace cohort::backend {

// ---- handles: small values, meaningless to anyone but the backend that made them ----

struct Tensor {  // an activation, or a range of columns of one
  int32_t id = -1;
  int32_t rows = 0;
  int32_t first_column = 0;
  int32_t columns = 0;

  Tensor slice(int32_t first, int32_t count) const {
    return {id, rows, first_column + first, count};
  }
};
// Weights: y[rows] = W x[columns].
struct Matrix {
  int32_t id = -1;
  int32_t rows = 0;
  int32_t columns = 0;
};
// Norm weights, biases, sinks: float32.
struct Vector {
  int32_t id = -1;
  int32_t size = 0;
};
struct ExpertBank {
  int32_t id = -1;
  int32_t experts = 0;
};
struct Rope {
  int32_t id = -1;
};
// Chosen experts and their weights, a row each.
struct Routing {
  int32_t id = -1;
};

// ---- weights: a range of a checkpoint matrix. The backend may repack it and let the mapped pages go ----

// count -1: to the end.
struct RowRange {
  int64_t first = 0;
  int64_t count = -1;
};

struct MatrixPart {
  MatrixView view;
  RowRange rows;     // outputs kept
  RowRange columns;  // inputs kept; bounds are multiples of the quantisation group
};

// kGptOss: min(g,7) * sigmoid(1.702 g) * (clamp(u,+-7) + 1).
enum class Activation { kSilu, kGeluTanh, kRelu2, kGptOss };

struct ExpertParts {  // one mixture layer's experts; all parts have an expert axis
  MatrixPart gate, up, down;
  std::vector<float> gate_bias, up_bias, down_bias;  // empty, or [experts * rows]
  RowRange experts;  // experts kept by this rank; the others contribute nothing here
  Activation activation = Activation::kSilu;
};

struct RopeSpec {
  int dims = 0;                            // rotated dims, the first of each head (see `first`)
  bool traditional = false;                // pairs (2i, 2i+1) instead of (i, i + dims/2)
  std::vector<float> inverse_frequencies;  // dims / 2 values: angle = position * inverse_frequency
  float scale = 1.0f;                      // multiplies the rotated dims (yarn's mscale)
};

enum class Scoring {
  kSoftmax,          // softmax over all experts, then the best k (renormalised when `normalize`)
  kSoftmaxOfChosen,  // the best k logits, then softmax over those (gpt_oss)
  kGroupedSigmoid,  // deepseek_v3: sigmoid scores, biased for the choice, groups ranked by their two best
};
struct RouterSpec {
  Scoring scoring = Scoring::kSoftmax;
  int top_k = 0;
  bool normalize = true;
  float scale = 1.0f;
  int groups = 1, top_groups = 1;  // kGroupedSigmoid
};

// ---- KV cache ----

enum class KvType : uint8_t { kF32, kF16, kBF16, kQ8 };

struct KvLayerSpec {  // what one position of one layer stores
  int kv_heads = 0;
  int key_dim = 0;
  int value_dim = 0;  // 0: the value is the first `value_prefix` dims of the key (latent attention)
  int value_prefix = 0;
};
struct KvSpec {
  std::vector<KvLayerSpec> layers;  // this shard's layers
  KvType type = KvType::kF16;
};
uint64_t kv_page_bytes(const KvSpec& spec);  // of one page over all layers

struct AttentionSpec {
  int heads = 0;
  int layer = 0;       // index into KvSpec::layers
  float scale = 1.0f;  // of q.k
  int window = 0;      // 0: all; w: a token sees itself and the w-1 before it
  Vector sinks;        // id -1: none; else an extra logit per head in the softmax
};

// ---- what the planner and the user are told ----

struct BackendInfo {
  std::string name;    // "cpu"
  std::string detail;  // "AVX-512 VNNI BF16, 2 threads"
  int threads = 1;
  uint64_t weight_bytes = 0, kv_bytes = 0, scratch_bytes = 0;
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual BackendInfo info() const = 0;

  // -- at load --
  // Parts are stacked by rows (q, k, v -> one matrix, read in one pass). Formats may differ from part to part. `bias`
  // is empty or one value per stacked row; it is added by linear().
  virtual Result<Matrix> load_matrix(std::span<const MatrixPart> parts,
                                     std::span<const float> bias = {}) = 0;
  // Both halves of a gated_linear(), of one size, and for it only; `bias` is empty or the gate's and then the other's. A
  // backend may keep them in an order of its own.
  virtual Result<Matrix> load_gate_up(const MatrixPart& gate, const MatrixPart& up,
                                      std::span<const float> bias = {}) {
    const MatrixPart parts[] = {gate, up};
    return load_matrix(parts, bias);
  }
  virtual Result<Matrix> load_embedding(
      const MatrixPart& table) = 0;  // for embed() only; stays mapped
  virtual Result<Matrix> load_head_matrices(
      const MatrixPart& part) = 0;  // leading axis = heads; for head_linear()
  virtual Result<Vector> load_vector(std::span<const float> values) = 0;
  virtual Result<ExpertBank> load_experts(const ExpertParts& parts) = 0;
  virtual Rope make_rope(const RopeSpec& spec) = 0;
  // Makes room for `pages` pages; called once after the weights. kUnavailable names the bytes wanted and had.
  virtual Result<void> create_kv(const KvSpec& spec, int32_t pages) = 0;
  virtual void copy_kv_page(int32_t from, int32_t to) = 0;  // all layers; for a fork inside a page

  // -- a step --
  virtual void begin_step(const StepPlan& plan) = 0;  // `plan` must outlive the step
  // From now on the plan's rows are these, some of those that the step began with. `part` must outlive the step.
  virtual void select_rows(const StepPlan& part) = 0;
  virtual Result<void> read(
      Tensor x, std::span<float> out) = 0;  // row-major; finishes the step's work so far
  virtual Result<void> finish() = 0;        // the end of a step of which nothing is read

  virtual int32_t scope_begin() = 0;  // use class Scope
  virtual void scope_end(int32_t mark) = 0;

  virtual Tensor embed(
      Matrix table, float scale = 1.0f) = 0;  // the plan's tokens; zeros for those not in its rows
  virtual Tensor input(std::span<const float> values,
                       int32_t columns) = 0;  // rows from outside (pipeline, vision)
  virtual Tensor linear(Matrix w, Tensor x) = 0;
  // x holds heads * w.columns columns; head h of the result = W_h x_h: [rows, heads * w.rows]
  virtual Tensor head_linear(Matrix w, Tensor x) = 0;
  // act(first half) * second half; of load_matrix() or load_gate_up()
  virtual Tensor gated_linear(Matrix gate_up, Tensor x, Activation activation) = 0;
  virtual Routing route(Matrix router, Tensor x, const RouterSpec& spec,
                        Vector choice_bias = {}) = 0;
  virtual Tensor experts(const ExpertBank& bank, Tensor x,
                         Routing routing) = 0;  // weighted sum of the chosen
  // group 0: over all columns; else over each `group` columns with one weight of that size (per-head norms)
  virtual Tensor rms_norm(Tensor x, Vector weight, float eps, int group = 0) = 0;
  virtual void add(Tensor& sum, Tensor x) = 0;  // sum += x
  virtual void scale(Tensor& x, float factor) = 0;
  // Rotates in place the first spec.dims of each head of `head_dim` columns, `skip` columns into the head.
  virtual void rope(Tensor& x, Rope rope, int head_dim, int skip = 0) = 0;
  virtual void scale_by_position(
      Tensor& x, float beta, int original_max) = 0;  // ministral3: 1 + beta ln(1 + floor(p/max))
  // Appends k and v of the plan's rows to the cache, then attends. v.id -1 with KvLayerSpec::value_prefix.
  // q [rows, heads*key_dim], k [rows, kv_heads*key_dim], v [rows, kv_heads*value_dim] -> [rows, heads*value_dim].
  virtual Tensor attention(Tensor q, Tensor k, Tensor v, const AttentionSpec& spec) = 0;
  // Each part holds `heads` heads; head h of the result is head h of every part, one after the other.
  virtual Tensor concat(std::span<const Tensor> parts, int heads = 1) = 0;
  virtual Tensor take_rows(Tensor x, std::span<const int32_t> rows) = 0;

  // -- between the ranks of a tensor-parallel group (no-ops without one) --
  // Borrowed from now on; null: alone. Between steps.
  virtual void set_group(transport::Group* group) = 0;
  // The first error of these is kept: read() and finish() return it, from then on. What the step computes after it
  // means nothing.
  virtual void all_sum(Tensor& x) = 0;
  // all_sum() and add() in two halves, so that the sum can travel while this rank computes on. begin_sum() is done with x
  // when it returns. One sum at a time.
  virtual void begin_sum(Tensor x) = 0;
  virtual void add_sum(Tensor& h) = 0;  // h += the sum that was begun
  // From one rank to another, as Group::send_values(). Who sends goes on as soon as the link has taken the values.
  virtual void send(int to, Tensor x) = 0;
  virtual Tensor receive(int from, int32_t rows, int32_t columns) = 0;
};

// Activations made while it lives are dropped with it; in-place changes to older ones stay.
class Scope {
 public:
  explicit Scope(Backend& backend) : backend_(backend), mark_(backend.scope_begin()) {}
  ~Scope() { backend_.scope_end(mark_); }
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;

 private:
  Backend& backend_;
  int32_t mark_;
};

}  // namespace cohort::backend
