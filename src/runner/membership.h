// A rank's way into its group: it listens, is told of the others, and connects to them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "runner/frame_socket.h"
#include "runner/hangup_watch.h"
#include "runner/placement.h"
#include "runner/protocol.h"
#include "transport/group.h"
#include "transport/link.h"

namespace cohort::runner {

struct Membership {
  Placement placement;
  std::unique_ptr<transport::Group> group;  // of all ranks
  std::vector<RankLink> links;              // to each other rank
};

Membership alone();

struct RankWish {
  int32_t rank = 0;   // ours
  int32_t count = 1;  // of ranks
  std::string transport = "auto";
  std::vector<PairLayout> pairs = {};  // that are to try something first
};
// Tells the daemon the port, waits for its ConnectCommand, and links with all others. By rank.
Result<std::vector<std::unique_ptr<transport::Link>>> link_ranks(FrameSocket& socket,
                                                                 const RankWish& wish);

// The group's waits end when `watch` sees the daemon go.
Result<Membership> join_group(FrameSocket& socket, const LoadCommand& command,
                              const HangupWatch& watch);

}  // namespace cohort::runner
