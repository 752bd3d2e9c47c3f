// Claims about devices that still have to be told, least told first. Holds one claim a device: the newest.
#pragma once

#include <list>
#include <unordered_map>
#include <vector>

#include "cluster/message.h"

namespace cohort::cluster {

class Rumours {
 public:
  bool empty() const { return by_device_.empty(); }

  // Replaces an older claim about the same device, as not told yet.
  void add(const MemberUpdate& claim);
  // Up to `count` claims, least told first; each is dropped once it has been taken `limit` times.
  std::vector<MemberUpdate> take(size_t count, size_t limit);

 private:
  struct Rumour {
    MemberUpdate claim;
    size_t told = 0;
  };
  using List = std::list<Rumour>;

  List& told(size_t times);

  std::vector<List> by_told_;
  std::unordered_map<DeviceId, List::iterator> by_device_;
};

}  // namespace cohort::cluster
