// Remembers what was said about whom, so that a peer that is refused again and again makes one line in the log.
#pragma once

#include <set>
#include <string>
#include <utility>

namespace cohort::mesh {

class Refusals {
 public:
  static constexpr size_t kMaxKnown =
      512;  // beyond, all is silence: somebody is trying every address there is

  // True the first time.
  bool is_new(std::string address, std::string why) {
    return known_.size() < kMaxKnown && known_.emplace(std::move(address), std::move(why)).second;
  }

 private:
  std::set<std::pair<std::string, std::string>> known_;
};

}  // namespace cohort::mesh
