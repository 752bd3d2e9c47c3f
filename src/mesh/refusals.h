// Who was not taken for a peer, and why: so that one that comes again and again makes one line in the log, and people can be
// told what to do.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace cohort::mesh {

// The usual causes, in the words of all who find them.
inline constexpr std::string_view kOtherNamespace = "its namespace is another one";
inline constexpr std::string_view kOtherSecret = "its secret is another one";
inline constexpr std::string_view kOnlyTheyHaveSecret = "it has a secret, and we have none";
inline constexpr std::string_view kOnlyWeHaveSecret = "it has no secret, and we have one";

struct Refusal {
  std::string address;
  std::string why;
  int64_t first_unix_ms = 0, last_unix_ms = 0;
  uint64_t times = 0;
};

// What to do about it; "": the reason says so itself, or nothing is known.
std::string remedy_for(const Refusal& refusal);

class Refusals {
 public:
  static constexpr size_t kMaxKnown =
      512;  // beyond, all is silence: somebody is trying every address there is

  // True the first time.
  bool add(const std::string& address, const std::string& why, int64_t now_unix_ms);
  void forget(const std::string& address);  // a peer is there now
  std::vector<Refusal> all() const;         // the latest first

 private:
  std::map<std::pair<std::string, std::string>, Refusal> known_;  // by address and why
};

}  // namespace cohort::mesh
