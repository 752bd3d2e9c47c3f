// A whole tensor-parallel group in one process, in float32.
#pragma once

#include <algorithm>
#include <memory>
#include <span>
#include <thread>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "formats/checkpoint.h"
#include "models/golden.h"
#include "transport/local_groups.h"

namespace cohort::models::testing {

inline std::unique_ptr<backend::Backend> exact_backend() {
  return backend::make_cpu_backend({.threads = 1, .math = backend::Math::kF32});
}

inline Result<void> make_kv(const Model& model, backend::Backend& backend, int32_t pages) {
  backend::KvSpec kv = model.info().kv;
  kv.type = backend::KvType::kF32;
  return backend.create_kv(kv, pages);
}

// The ranks of one tensor group.
class TensorGroup {
 public:
  static Result<std::unique_ptr<TensorGroup>> load(const formats::Checkpoint& checkpoint,
                                                   const std::vector<double>& fractions,
                                                   int32_t pages) {
    auto group = std::make_unique<TensorGroup>();
    COHORT_TRY(auto links,
               transport::make_local_groups({.size = static_cast<int>(fractions.size())}));
    for (size_t rank = 0; rank < fractions.size(); ++rank) {
      auto backend = exact_backend();
      backend->set_group(links[rank].get());
      COHORT_TRY(
          auto model,
          make_model(checkpoint, {.rank = static_cast<int32_t>(rank), .fractions = fractions},
                     *backend));
      COHORT_TRY_VOID(make_kv(*model, *backend, pages));
      group->ranks_.push_back({std::move(links[rank]), std::move(backend), std::move(model)});
    }
    return group;
  }

  GoldenTarget target() {
    return {.step = [this](const auto& plan, auto logits) { return step(plan, logits); },
            .copy_kv_page =
                [this](int32_t from, int32_t to) {
                  for (Rank& rank : ranks_) rank.backend->copy_kv_page(from, to);
                }};
  }

 private:
  struct Rank {
    std::unique_ptr<transport::Group> group;
    std::unique_ptr<backend::Backend> backend;
    std::unique_ptr<Model> model;
  };

  Result<void> step(const backend::StepPlan& plan, std::span<float> logits) {
    std::vector<std::vector<float>> results(ranks_.size(), std::vector<float>(logits.size()));
    std::vector<std::jthread> threads;
    for (size_t i = 0; i < ranks_.size(); ++i) {
      threads.emplace_back([&, i] {
        Rank& rank = ranks_[i];
        rank.backend->begin_step(plan);
        COHORT_CHECK(rank.backend->read(rank.model->forward(*rank.backend, plan, {}), results[i]));
      });
    }
    threads.clear();
    for (const auto& result : results) {
      if (result != results[0]) return fail(Code::kInternal, "the ranks disagree");
    }
    std::ranges::copy(results[0], logits.begin());
    return {};
  }

  std::vector<Rank> ranks_;
};

}  // namespace cohort::models::testing
