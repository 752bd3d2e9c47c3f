// How long to leave a peer alone with whom something was broken off: at first a little, twice as long each further time in
// a row. Pure: time is an argument.
#pragma once

#include <algorithm>
#include <chrono>
#include <map>
#include <string>

namespace cohort::node {

class RetryPauses {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;
  static constexpr std::chrono::seconds kFirst{3}, kLongest{60};

  void broke_off(const std::string& peer, TimePoint now) {
    Pause& pause = pauses_[peer];
    pause.length = std::clamp(2 * pause.length, kFirst, kLongest);
    pause.until = now + pause.length;
  }
  void succeeded(const std::string& peer) { pauses_.erase(peer); }

  bool holds(const std::string& peer, TimePoint now) const {
    const auto pause = pauses_.find(peer);
    return pause != pauses_.end() && now < pause->second.until;
  }

  // Peers that are gone begin anew when they come back.
  template <class Predicate>
  void keep_only(Predicate is_here) {
    std::erase_if(pauses_, [&](const auto& pause) { return !is_here(pause.first); });
  }
  size_t size() const { return pauses_.size(); }

 private:
  struct Pause {
    std::chrono::seconds length{0};
    TimePoint until;
  };
  std::map<std::string, Pause> pauses_;  // by peer
};

}  // namespace cohort::node
