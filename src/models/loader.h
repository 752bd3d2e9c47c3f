// Weights on their way from a checkpoint into a backend: names, shapes and this rank's share are checked here, so that a
// family's file only says what it needs.
#pragma once

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "backend/backend.h"
#include "base/json.h"
#include "base/result.h"
#include "formats/checkpoint.h"
#include "models/model.h"
#include "models/split.h"

namespace cohort::models {

// Borrows everything for the time of loading.
class Loader {
 public:
  Loader(const formats::Checkpoint& checkpoint, const Shard& shard, backend::Backend& backend,
         const LoadObserver& observer)
      : checkpoint_(checkpoint), shard_(shard), backend_(backend), observer_(observer) {}

  const Shard& shard() const { return shard_; }
  backend::Backend& backend() const { return backend_; }
  bool first_rank() const { return shard_.rank == 0; }

  // The family's config struct, read and checked (Config::check()).
  template <class Config>
  Result<Config> config() const;

  bool has(std::string_view name) const { return checkpoint_.find(name) != nullptr; }

  // The matrix `prefix`.weight, of exactly these sizes (experts 0: no leading axis); kDataLoss names both shapes.
  Result<MatrixView> view(const std::string& prefix, int64_t rows, int64_t columns,
                          int64_t experts = 0) const;
  // A tensor of exactly this shape, widened.
  Result<std::vector<float>> floats(const std::string& name, const Shape& shape) const;
  // `prefix`.bias when the family has one. One that is there although the family has none is an error too: the model would
  // not be what its name says.
  Result<std::vector<float>> bias(const std::string& prefix, const Shape& shape, bool wanted) const;

  Result<backend::Vector> vector(const std::string& name, int64_t size) const;

  // The backend's loads. What it has packed need not stay in memory as mapped pages too, so those are let go.
  Result<backend::Matrix> load_matrix(std::span<const backend::MatrixPart> parts,
                                      std::span<const float> bias = {}) const;
  Result<backend::Matrix> load_gate_up(const backend::MatrixPart& gate,
                                       const backend::MatrixPart& up,
                                       std::span<const float> bias) const;
  Result<backend::Matrix> load_head_matrices(const MatrixView& view) const;
  Result<backend::ExpertBank> load_experts(const backend::ExpertParts& parts) const;
  // A linear layer whose inputs are cut: this rank's `columns`, with the bias on the first rank only, since all_sum() adds
  // the ranks' results.
  Result<backend::Matrix> load_summed(const std::string& prefix, const MatrixView& view,
                                      Range columns, bool has_bias) const;

  // Registers what one more layer keeps of each position; its index for AttentionSpec::layer.
  int add_kv_layer(const backend::KvLayerSpec& spec);
  const std::vector<backend::KvLayerSpec>& kv_layers() const { return kv_layers_; }

  void report_progress(int32_t layers_loaded, int32_t layers) const {
    if (observer_) observer_(layers_loaded, layers);
  }

 private:
  void release(const MatrixView& view) const;

  const formats::Checkpoint& checkpoint_;
  const Shard& shard_;
  backend::Backend& backend_;
  const LoadObserver& observer_;
  std::vector<backend::KvLayerSpec> kv_layers_;
};

backend::RowRange row_range(Range range);
int64_t column_step(const Shard& shard, const MatrixView& view);  // see split.h
backend::MatrixPart whole(const MatrixView& view);
backend::MatrixPart rows_of(const MatrixView& view, Range rows);
backend::MatrixPart columns_of(const MatrixView& view, Range columns);
// Entries of the leading axis.
MatrixView experts_of(const MatrixView& view, Range experts);

template <class Config>
Result<Config> Loader::config() const {
  auto config = from_json<Config>(checkpoint_.config());
  if (!config) return fail_in("config.json", config.error());
  COHORT_TRY_VOID(config->check());
  return config;
}

}  // namespace cohort::models
