#include "mesh/refusals.h"

#include <algorithm>

namespace cohort::mesh {
namespace {

struct Remedy {
  std::string_view why;  // what the reason holds
  std::string_view what;
};

constexpr Remedy kRemedies[] = {
    {kOtherNamespace,
     "give both devices the same --namespace, or leave it: another cluster is there"},
    {kOtherSecret, "'cohort secret show' on one of the two, 'cohort secret set' on the other"},
    {kOnlyTheyHaveSecret, "'cohort secret show' there, 'cohort secret set' here"},
    {kOnlyWeHaveSecret, "'cohort secret show' here, 'cohort secret set' there"},
    {"does not answer", "see whether cohort runs there and its firewall lets TCP 52416 in"},
    {"No route to host", "see the address, and the network between"},
    {"Connection refused", "see whether cohort runs there, and on this port"},
    {"its name is unknown", "see the spelling, or give an address instead"},
    {"its name was not looked up", "see this machine's DNS, or give an address instead"},
    {"it is no cohort device", "another program dials this port; --mesh-port chooses another"},
    {"it floods us", "another program dials this port; --mesh-port chooses another"}};

}  // namespace

std::string remedy_for(const Refusal& refusal) {
  for (const Remedy& remedy : kRemedies) {
    if (refusal.why.find(remedy.why) != std::string::npos) return std::string(remedy.what);
  }
  return "";
}

bool Refusals::add(const std::string& address, const std::string& why, int64_t now_unix_ms) {
  const std::pair key(address, why);
  auto known = known_.find(key);
  const bool is_new = known == known_.end();
  if (is_new && known_.size() >= kMaxKnown) return false;
  if (is_new) known = known_.emplace(key, Refusal{address, why, now_unix_ms}).first;
  known->second.last_unix_ms = now_unix_ms;
  ++known->second.times;
  return is_new;
}

void Refusals::forget(const std::string& address) {
  std::erase_if(known_, [&](const auto& entry) { return entry.first.first == address; });
}

std::vector<Refusal> Refusals::all() const {
  std::vector<Refusal> all;
  for (const auto& [key, refusal] : known_) all.push_back(refusal);
  std::stable_sort(all.begin(), all.end(), [](const Refusal& a, const Refusal& b) {
    return a.last_unix_ms > b.last_unix_ms;
  });
  return all;
}

}  // namespace cohort::mesh
