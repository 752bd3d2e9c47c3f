// What the ranks of a tensor group exchange in the middle of a step.
#pragma once

#include <cstddef>
#include <functional>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "backend/cpu/activations.h"
#include "base/result.h"
#include "transport/group.h"

namespace cohort::backend {

// `idle` is called again and again while an exchange waits; see Group::set_idle_work().
class Collectives {
 public:
  // Of one exchange, while every peer is alive: the slowest device's share of the longest chunk. A dead peer ends it at
  // once.
  static constexpr std::chrono::minutes kLimit{5};

  explicit Collectives(std::function<void()> idle = {}) : idle_(std::move(idle)) {}

  void set_group(transport::Group* group) { group_ = group; }
  bool alone() const { return group_ == nullptr || group_->size() == 1; }

  void all_sum(Rows values);
  void begin_sum(Rows values);  // of a copy
  void go_on();                 // with it, as far as it goes without waiting
  Rows finish_sum();            // good until the next
  void send(int to, Rows values);
  void receive(int from, Rows values);  // of as many rows and columns as the other sends

  // The first error; after it the others do nothing.
  Result<void> status() const;

 private:
  // operation(), which waits for others.
  template <class Operation>
  void wait_in(Operation&& operation) {
    if (idle_) group_->set_idle_work(&idle_);
    keep(operation());
    if (idle_) group_->set_idle_work(nullptr);
  }
  void keep(Result<void> done);

  const std::function<void()> idle_;
  transport::Group* group_ = nullptr;
  std::optional<Error> error_;
  std::vector<float> packed_;  // rows without the gaps between them
  std::vector<float> begun_;   // a sum under way, or done
  Rows begun_rows_;
};

}  // namespace cohort::backend
