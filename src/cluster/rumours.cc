#include "cluster/rumours.h"

namespace cohort::cluster {

Rumours::List& Rumours::told(size_t times) {
  if (times >= by_told_.size()) by_told_.resize(times + 1);
  return by_told_[times];
}

void Rumours::add(const MemberUpdate& claim) {
  List& untold = told(0);
  const auto [entry, is_new] = by_device_.try_emplace(claim.device);
  if (is_new) {
    entry->second = untold.insert(untold.end(), {claim, 0});
    return;
  }
  Rumour& rumour = *entry->second;
  untold.splice(untold.end(), by_told_[rumour.told], entry->second);
  rumour = {claim, 0};
}

std::vector<MemberUpdate> Rumours::take(size_t count, size_t limit) {
  List taken;
  for (List& list : by_told_) {
    while (!list.empty() && taken.size() < count) {
      taken.splice(taken.end(), list, list.begin());
    }
  }
  std::vector<MemberUpdate> claims;
  claims.reserve(taken.size() + 1);
  while (!taken.empty()) {
    Rumour& rumour = taken.front();
    claims.push_back(rumour.claim);
    if (++rumour.told >= limit) {
      by_device_.erase(rumour.claim.device);
      taken.pop_front();
    } else {
      List& next = told(rumour.told);
      next.splice(next.end(), taken, taken.begin());
    }
  }
  return claims;
}

}  // namespace cohort::cluster
