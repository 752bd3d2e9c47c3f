// What a decoding step costs beside the memory it reads, measured on small models of random weights and on a local link:
// the planner's prices (cluster/cost.h) are made of these.
#pragma once

#include <string>
#include <vector>

#include "backend/choose.h"
#include "base/result.h"

namespace cohort::cli {

// Rates of memory are told as if it had always given `read_bytes_per_s`: what it gives changes while this is measured.
struct FormatCosts {
  std::string format;              // of cluster::kFormats
  double weights_bytes_per_s = 0;  // through the kernels, one token at a time
  double operations_per_s = 0;     // for many rows at once, as of a prompt
};

struct StepCosts {
  double read_bytes_per_s =
      0;  // to as many threads, pure reading, in the midst of all this; 0: not a CPU
  double kv_bytes_per_s = 0;              // attention's way through the KV cache
  double attention_operations_per_s = 0;  // of a prompt's rows to what stands before them
  double layer_s = 0;                     // of a layer of next to no weights
  double step_s = 0;                      // of a step of no layers
  std::vector<FormatCosts> formats;
};
// A few seconds. A slow device is measured in fewer and smaller steps; kUnavailable when 40 s were not enough even so.
Result<StepCosts> measure_step_costs(const backend::Choice& choice);

// A message over an encrypted TCP link, sent and received by this thread, beyond the bare bytes over the same socket, one
// after the other as pings are. Its caches have forgotten how, as a step's weights make them forget between two sums.
struct MessageCosts {
  double message_s = 0;
  double byte_s = 0;  // of each byte more; sealing, copying, opening
};
Result<MessageCosts> measure_message_costs();

// To another rank of this host by shared memory, and back. With one core usable both ends are this thread's, and what
// the way between two cores takes is left out.
struct ShmCosts {
  double round_trip_p50_s = 0;
  double round_trip_p99_s = 0;
  double bytes_per_s = 0;  // one way
};
Result<ShmCosts> measure_shm_costs(int cores);

}  // namespace cohort::cli
