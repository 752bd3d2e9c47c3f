// Generations whose instance has nobody who works on it just now: it loads, moves or heals. Loop thread only.
#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "net/task.h"
#include "node/generation.h"

namespace cohort::node {

class Parking final : public GenerationOwner {
 public:
  struct Car {
    Generation* generation;
    std::string instance;
    net::TimePoint deadline;
    Error why;       // what befell it last
    bool is_coming;  // the plan that has its instance may still be on its way
  };

  void add(Car car) {
    car.generation->set_owner(this);
    cars_.push_back(std::move(car));
  }
  std::vector<Car> take_all() { return std::exchange(cars_, {}); }  // still owned: set_owner() each
  bool empty() const { return cars_.empty(); }
  size_t size() const { return cars_.size(); }
  size_t size_of(const std::string& instance) const {
    return static_cast<size_t>(std::count_if(
        cars_.begin(), cars_.end(), [&](const Car& car) { return car.instance == instance; }));
  }

  void on_dropped(Generation& generation) override {
    std::erase_if(cars_, [&](const Car& car) { return car.generation == &generation; });
  }
  void on_drained(Generation&) override {}

 private:
  std::vector<Car> cars_;
};

}  // namespace cohort::node
