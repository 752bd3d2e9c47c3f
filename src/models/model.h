// A model, or the shard of one: one architecture, written against the compute seam.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "backend/backend.h"
#include "base/result.h"
#include "formats/checkpoint.h"

namespace cohort::models {

// What part of the model this rank holds. Layers are the pipeline's cut, fractions the tensor group's: heads, feed-forward
// columns, experts and vocabulary rows are given out in proportion to `fractions`, in whole quantisation groups.
struct Shard {
  int32_t first_layer = 0;
  int32_t last_layer = -1;              // exclusive; -1: all
  int32_t rank = 0;                     // in the tensor group
  std::vector<double> fractions = {1};  // one a rank of the group; they sum to 1

  int32_t size() const { return static_cast<int32_t>(fractions.size()); }
};

struct ModelInfo {
  std::string model_type;  // config's
  int32_t layers = 0;      // of the whole model
  int32_t width = 0;       // columns of the residual stream
  int32_t vocab_size = 0;
  int32_t max_positions = 0;  // context limit of the checkpoint
  backend::KvSpec kv;         // of this shard
  bool first_stage = true;    // embeds tokens
  bool last_stage = true;     // gives logits
};

// Weights live in the backend that was passed to make_model(), which must outlive the model; the embedding table stays in
// the checkpoint's mapping, which must outlive it too. One thread.
class Model {
 public:
  virtual ~Model() = default;
  virtual const ModelInfo& info() const = 0;

  // Between backend.begin_step(plan) and the next. First stage: `input` is ignored; later ones get the previous stage's
  // residual stream [rows, width]. Last stage returns logits [plan.logits_rows, vocab_size], earlier ones the stream.
  // With no logits_rows, and on all ranks of a tensor group but the first, the last stage returns a tensor of no rows that
  // must not be read: finish() ends such a step.
  virtual backend::Tensor forward(backend::Backend& backend, const backend::StepPlan& plan,
                                  backend::Tensor input) = 0;
};

// kUnsupported lists the known architectures; kDataLoss names a tensor that is missing or has the wrong shape;
// kInvalidArgument names a config key that is absurd.
// `observer` is told after each layer.
using LoadObserver = std::function<void(int32_t layers_loaded, int32_t layers)>;
Result<std::unique_ptr<Model>> make_model(const formats::Checkpoint& checkpoint, const Shard& shard,
                                          backend::Backend& backend,
                                          const LoadObserver& observer = {});

std::vector<std::string_view> known_architectures();

}  // namespace cohort::models
