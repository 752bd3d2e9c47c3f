// Where peers may be found, and when to try each next. Pure: no I/O, the time and the chance are arguments.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "net/task.h"

namespace cohort::mesh {

enum class Source {
  kConfigured,  // tried for ever
  kRemembered,  // tried for ever, but seldom
  kHeard,       // a beacon, or another device's word: tried as long as it is heard
};

struct Candidate {
  std::string host;  // numeric, or a name
  uint16_t port = 0;
  Source source = Source::kConfigured;
  std::string peer;    // its id, when known
  int preference = 0;  // of several addresses of one peer the lowest is tried first
  bool is_us = false;  // seen to lead back to this device
  bool dialing = false;
  int failures = 0;  // in a row
  net::TimePoint next_try;
  net::TimePoint forgotten_at = net::kNever;
};

// "host", "host:port", "1.2.3.4:5", "[::1]:5", "::1". kInvalidArgument.
Result<Candidate> parse_peer(const std::string& text, uint16_t default_port);

class Candidates {
 public:
  static constexpr size_t kMax = 4096;
  static constexpr std::chrono::milliseconds kFirstRetry{250};
  static constexpr std::chrono::seconds kLastRetry{5};
  static constexpr std::chrono::seconds kLastRetryOfHeard{2};
  static constexpr std::chrono::seconds kSeldom{60};    // remembered ones, and ourselves
  static constexpr std::chrono::seconds kHeardFor{10};  // after its last beacon
  using IsNeedless = std::function<bool(const Candidate& candidate)>;  // to dial now

  // A place that is known already gets the better source, its id and a longer life.
  void add(Candidate candidate);

  // Marks them as being dialed: at most one of each peer. Say failed() or succeeded() for each.
  std::vector<Candidate*> take_due(net::TimePoint now, const IsNeedless& is_needless);
  net::TimePoint next_due(const IsNeedless& is_needless) const;

  // `chance` in [0, 1): so that devices do not retry in step.
  void failed(Candidate& candidate, net::TimePoint now, double chance);
  void succeeded(Candidate& candidate, const std::string& peer);
  void retry(const std::string& peer, net::TimePoint soon);  // its places, afresh

  const std::list<Candidate>& all() const { return candidates_; }
  std::set<std::string> heard() const;  // ids of peers that beacons came from lately
  const Candidate* best_of(std::string_view peer) const;  // null: no place of it is known

 private:
  bool is_dialing(const std::string& peer) const;

  std::list<Candidate> candidates_;  // a list: those being dialed are pointed at
};

}  // namespace cohort::mesh
