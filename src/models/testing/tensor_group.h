// A whole tensor-parallel group in one process, in float32; each rank's backend may be another.
#pragma once

#include <algorithm>
#include <functional>
#include <future>
#include <memory>
#include <span>
#include <thread>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "formats/checkpoint.h"
#include "models/golden.h"
#include "models/testing/own_thread.h"
#include "transport/local_groups.h"

namespace cohort::models::testing {

using MakeBackend = std::function<std::unique_ptr<backend::Backend>()>;

inline std::unique_ptr<backend::Backend> exact_backend() {
  return backend::make_cpu_backend({.threads = 1, .math = backend::Math::kF32});
}

inline Result<void> make_kv(const Model& model, backend::Backend& backend, int32_t pages) {
  backend::KvSpec kv = model.info().kv;
  kv.type = backend::KvType::kF32;
  return backend.create_kv(kv, pages);
}

// The ranks of one tensor group, each on a thread of its own, as backends want it.
class TensorGroup {
 public:
  // Rank r computes on backends[r % backends.size()].
  static Result<std::unique_ptr<TensorGroup>> load(
      const formats::Checkpoint& checkpoint, const std::vector<double>& fractions, int32_t pages,
      const std::vector<MakeBackend>& backends = {exact_backend}) {
    auto group = std::make_unique<TensorGroup>();
    COHORT_TRY(auto links,
               transport::make_local_groups({.size = static_cast<int>(fractions.size())}));
    for (size_t r = 0; r < fractions.size(); ++r) {
      group->ranks_.push_back(std::make_unique<Rank>(std::move(links[r])));
      Rank& rank = *group->ranks_.back();
      Result<void> loaded;
      rank.thread
          .run([&] {
            const Shard shard{.rank = static_cast<int32_t>(r), .fractions = fractions};
            loaded = rank.load(checkpoint, shard, pages, backends[r % backends.size()]);
          })
          .wait();
      COHORT_TRY_VOID(std::move(loaded));
    }
    return group;
  }

  GoldenTarget target() {
    return {.step = [this](const auto& plan, auto logits) { return step(plan, logits); },
            .copy_kv_page =
                [this](int32_t from, int32_t to) {
                  for (auto& rank : ranks_)
                    rank->thread.run([&] { rank->backend->copy_kv_page(from, to); }).wait();
                }};
  }

 private:
  struct Rank {
    explicit Rank(std::unique_ptr<transport::Group> links) : group(std::move(links)) {}
    ~Rank() {
      thread.run([&] {
        model.reset();
        backend.reset();
      });
    }

    Result<void> load(const formats::Checkpoint& checkpoint, const Shard& shard, int32_t pages,
                      const MakeBackend& make) {
      backend = make();
      backend->set_group(group.get());
      COHORT_TRY(model, make_model(checkpoint, shard, *backend));
      return make_kv(*model, *backend, pages);
    }

    std::unique_ptr<transport::Group> group;
    std::unique_ptr<backend::Backend> backend;
    std::unique_ptr<Model> model;
    OwnThread thread;
  };

  Result<void> step(const backend::StepPlan& plan, std::span<float> logits) {
    std::vector<std::future<void>> done;
    for (size_t i = 0; i < ranks_.size(); ++i) {
      done.push_back(ranks_[i]->thread.run([&, i] {
        backend::Backend& backend = *ranks_[i]->backend;
        backend.begin_step(plan);
        const backend::Tensor result = ranks_[i]->model->forward(backend, plan, {});
        COHORT_CHECK(i == 0 ? backend.read(result, logits) : backend.finish());
      }));
    }
    for (auto& one : done) one.wait();
    return {};
  }

  std::vector<std::unique_ptr<Rank>> ranks_;
};

}  // namespace cohort::models::testing
