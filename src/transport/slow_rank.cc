#include "transport/slow_rank.h"

#include <utility>

#include "base/check.h"

namespace cohort::transport {
namespace {

using Clock = std::chrono::steady_clock;

// Of a rank and all groups it is in.
struct Pace {
  double lag = 0;  // what is added to each second of work
  Clock::time_point resumed = Clock::now();

  void hold() const {
    const auto now = Clock::now();
    const auto until = now + std::chrono::duration_cast<Clock::duration>((now - resumed) * lag);
    while (Clock::now() < until) {
    }
  }
};

class SlowRank final : public Group {
 public:
  SlowRank(std::unique_ptr<Group> group, std::shared_ptr<Pace> pace)
      : group_(std::move(group)), pace_(std::move(pace)) {}

  int rank() const override { return group_->rank(); }
  int size() const override { return group_->size(); }
  Result<void> all_sum(std::span<float> values, Deadline deadline) override {
    return after_work([&] { return group_->all_sum(values, deadline); });
  }
  Result<void> begin_sum(std::span<float> values) override {
    return after_work([&] { return group_->begin_sum(values); });
  }
  Result<void> go_on() override { return group_->go_on(); }
  Result<void> finish_sum(Deadline deadline) override {
    return after_work([&] { return group_->finish_sum(deadline); });
  }
  Result<void> all_gather(std::span<const std::byte> part, std::span<const size_t> sizes,
                          std::span<std::byte> all, Deadline deadline) override {
    return after_work([&] { return group_->all_gather(part, sizes, all, deadline); });
  }
  Result<void> broadcast(int root, std::vector<std::byte>& bytes, Deadline deadline) override {
    return after_work([&] { return group_->broadcast(root, bytes, deadline); });
  }
  Result<void> send(int to, std::span<const std::byte> bytes, Deadline deadline) override {
    return after_work([&] { return group_->send(to, bytes, deadline); });
  }
  Result<void> receive(int from, std::span<std::byte> out, Deadline deadline) override {
    return after_work([&] { return group_->receive(from, out, deadline); });
  }
  Result<void> send_values(int to, std::span<const float> values, Deadline deadline) override {
    return after_work([&] { return group_->send_values(to, values, deadline); });
  }
  Result<void> receive_values(int from, std::span<float> out, Deadline deadline) override {
    return after_work([&] { return group_->receive_values(from, out, deadline); });
  }
  Result<void> barrier(Deadline deadline) override {
    return after_work([&] { return group_->barrier(deadline); });
  }
  Result<void> tune(Deadline deadline) override {
    return after_work([&] { return group_->tune(deadline); });
  }
  Result<void> check() override { return group_->check(); }
  void abort(std::string_view reason) override { group_->abort(reason); }
  void set_idle_work(const std::function<void()>* work) override { group_->set_idle_work(work); }
  std::unique_ptr<Group> subset(std::span<const int> ranks) override {
    return std::make_unique<SlowRank>(group_->subset(ranks), pace_);
  }

 private:
  template <class Operation>
  Result<void> after_work(Operation&& operation) {
    pace_->hold();
    Result<void> done = operation();
    pace_->resumed = Clock::now();
    return done;
  }

  std::unique_ptr<Group> group_;
  std::shared_ptr<Pace> pace_;
};

}  // namespace

std::unique_ptr<Group> slow_rank(std::unique_ptr<Group> group, double pace) {
  COHORT_CHECK(pace > 0 && pace <= 1);
  return std::make_unique<SlowRank>(std::move(group), std::make_shared<Pace>(Pace{1 / pace - 1}));
}

}  // namespace cohort::transport
