// What the two ends of a link offer each other before they try, and in which order they try it. Pure.
//
//   u32 session   u16 rails at most   u16 ports   then 36 bytes a port: its address, without a queue pair (rail_address.h)
//
// Ports 0: all that follows is ports, and the end keeps the usual rules for frames. Else after the ports come u32 bytes of
// the longest frame and u32 frames under way; what a later version puts behind them is skipped.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "transport/frames/frame_rules.h"
#include "transport/verbs/rail_address.h"

namespace cohort::transport {

struct Offer {
  static constexpr size_t kMaxPorts = 8;

  uint32_t session = 0;  // that of the end that dialled counts
  uint16_t rails = 1;
  std::vector<RailAddress> ports;
  FrameRules frames;  // what this end can keep; told only with ports

  std::string encode() const;
  static Result<Offer> decode(std::string_view bytes);  // kDataLoss
};

// A port of each end.
struct Match {
  size_t dialler = 0, dialled = 0;
  int common_bits = 0;  // at the front of their addresses: in one network, most likely

  bool shares_port(const Match& other) const {
    return dialler == other.dialler || dialled == other.dialled;
  }
};

// May a link that goes over `first` use this one as well? Messages take turns, so that rails have to be alike. Both ends
// come to the same answer.
bool is_rail_beside(const Offer& dialler, const Offer& dialled, const Match& first,
                    const Match& more);

// The likeliest first; the same list on both ends.
std::vector<Match> matches_of(const Offer& dialler, const Offer& dialled);

}  // namespace cohort::transport
