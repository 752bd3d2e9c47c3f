// The places of peers of the past, kept in <data_dir>/peers.json.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace cohort::mesh {

struct RememberedPeer {
  std::string id, host;
  uint16_t port = 0;

  bool operator==(const RememberedPeer&) const = default;
  template <class Visitor>
  void fields(Visitor& visit) {
    visit("id", id);
    visit("host", host);
    visit("port", port);
  }
};

class RememberedPeers {
 public:
  static constexpr size_t kMax = 64;

  // With no data_dir nothing is read or written. A file that makes no sense is as good as none.
  explicit RememberedPeers(std::string data_dir);

  const std::vector<RememberedPeer>& all() const { return peers_; }  // the latest first
  Result<void> add(RememberedPeer peer);                             // forgets the oldest

 private:
  std::string path_;
  std::vector<RememberedPeer> peers_;
};

}  // namespace cohort::mesh
