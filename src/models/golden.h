// Compares an engine with the logits that came with a checkpoint (golden.safetensors): `cohort verify` and the tests.
//   tokens i32[n], logits_prefill f32[n, vocab], decode_tokens i32[m], logits_decode f32[m, vocab]
// decode_tokens[0] follows the prompt; logits_decode[i] are those after feeding decode_tokens[i].
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "backend/backend.h"
#include "base/json.h"
#include "base/result.h"
#include "models/divergence.h"
#include "models/model.h"

namespace cohort::models {

struct Golden {
  std::vector<int32_t> tokens, decode_tokens;
  std::vector<float> logits_prefill, logits_decode;  // row-major
  int32_t vocab_size = 0;

  int32_t positions() const { return static_cast<int32_t>(tokens.size() + decode_tokens.size()); }
  int32_t pages() const;  // of KV that compare_with_golden() uses
};

// `folder`/golden.safetensors; kDataLoss names a tensor of the wrong type or shape.
Result<Golden> read_golden(const std::filesystem::path& folder);

struct GoldenOptions {
  int32_t chunk = 0;  // rows of prefill a step; 0: all at once
  // Another sequence computes the prompt's front; this one takes over its pages.
  bool reuse_prefix = false;
  double tolerance = 1e-3;
  // For reduced precision, where a near-tie in a router may move single rows far and flip a greedy choice: only the
  // medians over rows have to be within tolerance.
  bool judge_by_median = false;
};

struct GoldenDifference {
  double max_abs = 0;
  double row_max_median = 0;  // median over rows of the row's largest
  void fields(auto& visit) {
    visit("max_abs", max_abs);
    visit("row_max_median", row_max_median);
  }
};

struct GoldenReport {
  GoldenDifference prefill, decode;
  Divergence divergence;      // over all rows
  bool greedy_agree = false;  // every greedy choice is the golden one
  bool pass = false;          // within tolerance; judged by the maximum, greedy_agree too
  void fields(auto& visit) {
    visit("prefill", prefill);
    visit("decode", decode);
    visit("divergence", divergence);
    visit("greedy_agree", greedy_agree);
    visit("pass", pass);
  }
};

// What is compared: one backend with one model, or the leader of a group that broadcasts each plan.
struct GoldenTarget {
  std::function<Result<void>(const backend::StepPlan& plan, std::span<float> logits)> step;
  std::function<void(int32_t from, int32_t to)> copy_kv_page;
};
GoldenTarget golden_target(Model& model, backend::Backend& backend);  // borrows both

// Uses KV pages 0 to golden.pages(), whatever they hold.
Result<GoldenReport> compare_with_golden(const Golden& golden, const GoldenTarget& target,
                                         const GoldenOptions& options);

// All of it on one backend: opens the folder, loads the model whole, makes the KV cache, compares.
Result<GoldenReport> verify_checkpoint(const std::filesystem::path& folder,
                                       backend::Backend& backend, backend::KvType kv_type,
                                       const GoldenOptions& options);

}  // namespace cohort::models
