// Congestion control that paces (BBR, which some systems choose for the internet) spreads a message over timers. Ranks send
// a few messages at once and wait for those of the others, so pacing costs more than the sending: a sum of 4 MB over the
// loopback takes 2.7 ms instead of 1.1.
#pragma once

namespace cohort {

// A socket whose system would pace it gets CUBIC, or Reno where that is not allowed; any other choice of the system stays.
// Before it is connected, or listens: what it accepts inherits. On macOS, which does not pace, nothing.
void avoid_paced_sending(int socket);

}  // namespace cohort
