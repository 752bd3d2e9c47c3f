// Generations that wait for a model's first instance: its name is looked up (and downloaded), then the leader decides. Loop
// thread only.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "node/generation.h"

namespace cohort::node {

class Placement final : public GenerationOwner {
 public:
  explicit Placement(std::string model) : model_(std::move(model)) {}

  const std::string& model() const { return model_; }  // as users named it
  size_t size() const { return waiting_.size(); }

  void add(Generation& generation) {
    generation.set_owner(this);
    waiting_.push_back(&generation);
  }
  std::vector<Generation*> take_all() {
    for (Generation* generation : waiting_) generation->set_owner(nullptr);
    return std::exchange(waiting_, {});
  }

  void on_dropped(Generation& generation) override { std::erase(waiting_, &generation); }
  void on_drained(Generation&) override {}

 private:
  std::string model_;
  std::vector<Generation*> waiting_;
};

}  // namespace cohort::node
