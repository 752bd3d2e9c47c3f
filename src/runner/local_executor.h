// A step on this device alone.
#pragma once

#include "engine/engine.h"

namespace cohort::runner {

// Borrows both.
class LocalExecutor final : public engine::StepExecutor {
 public:
  LocalExecutor(backend::Backend& backend, models::Model& model)
      : backend_(backend), model_(model) {}

  Result<void> run(const backend::StepPlan& plan, std::span<float> logits) override {
    backend_.begin_step(plan);
    const backend::Tensor rows = model_.forward(backend_, plan, {});
    if (logits.empty()) return {};
    return backend_.read(rows, logits);
  }
  void copy_kv_page(int32_t from, int32_t to) override { backend_.copy_kv_page(from, to); }

 private:
  backend::Backend& backend_;
  models::Model& model_;
};

}  // namespace cohort::runner
