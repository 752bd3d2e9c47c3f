// What a system's verbs take and what they want. Plain values, so that one system's can be kept on another.
#pragma once

#include "transport/frames/frame_rules.h"

namespace cohort::transport {

struct VerbsRules {
  FrameRules frames;
  bool has_reliable = true;  // queue pairs; else only UC
  bool has_events = true;    // of completions; else waits look again after a while
  bool needs_ipv4 = false;   // queue pairs between other addresses are refused
  bool registers_for_remote =
      false;  // else memory is refused, though nobody reads or writes it from afar
};

// macOS over Thunderbolt 5 (docs/macos.md). A device's frame has 4 KiB; a send and the receive it meets have to cover as
// many of them: here each is one. Queues of 32 requests are what MLX asks for.
inline constexpr VerbsRules kAppleRules{.frames = {.frame_bytes = 4096, .window = 24},
                                        .has_reliable = false,
                                        .has_events = false,
                                        .needs_ipv4 = true,
                                        .registers_for_remote = true};

extern const VerbsRules kSystemRules;  // this system's (system_<system>.cc)

}  // namespace cohort::transport
