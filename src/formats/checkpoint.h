// A model on disk, opened: a folder with config.json and *.safetensors (single, or sharded with an index), memory-mapped.
// Every length, offset, overlap, dtype and shape is checked before a byte is trusted.
#pragma once

#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/result.h"
#include "tensor/quantization.h"
#include "tensor/tensor_view.h"

namespace cohort::formats {

// Immutable after open(); safe to read from many threads. Owns the mappings; views point into them.
class Checkpoint {
 public:
  // A folder, or a single .safetensors file (config.json beside it).
  static Result<Checkpoint> open(const std::filesystem::path& path);

  // From memory, for the built-in model and for tests: config.json's text and whole safetensors files. The bytes must
  // outlive the checkpoint.
  static Result<Checkpoint> from_memory(std::string_view config_json,
                                        std::vector<std::span<const std::byte>> safetensors);

  Checkpoint(Checkpoint&&) noexcept;
  Checkpoint& operator=(Checkpoint&&) noexcept;
  ~Checkpoint();

  const Json& config() const;                           // config.json, as parsed
  std::vector<std::string> names() const;               // sorted
  const TensorView* find(std::string_view name) const;  // null when absent
  Result<TensorView> tensor(
      std::string_view name) const;  // kNotFound names the tensor and the folder

  // `prefix`.weight with .scales and .biases when it is quantised (as config's "quantization" block says, per-layer
  // overrides included; the block must agree with the shapes). `prefix` is e.g. "model.layers.0.self_attn.q_proj".
  Result<MatrixView> matrix(std::string_view prefix) const;

  uint64_t size_bytes() const;  // of all tensors

  // Tells the OS that the mapped pages of these views are no longer needed (they were repacked); reading them again
  // is allowed and reads the file again. No-op for from_memory().
  void release_pages(const TensorView& view) const;

 private:
  struct State;
  explicit Checkpoint(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace cohort::formats
