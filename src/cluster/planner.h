// Which devices run a model, and how it is cut: plan() prices every sensible placement with cost.h and ranks them. Pure:
// from measured facts to placements, the same answer for the same input. Up to kExhaustiveDevices every set of devices
// and every grouping of them is tried; above, a beam over the fastest and best connected ones.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "cluster/cost.h"

namespace cohort::cluster {

inline constexpr int kExhaustiveDevices = 8;
inline constexpr size_t kMaxPlacements = 16;  // returned, best first

enum class Sharding {
  kAuto,
  kPipeline,
  kTensor
};  // of more than one device; kAuto tries all, mixed ones too

// A range of layers a user pins to a device.
struct ManualStage {
  std::string device;  // id or name
  int32_t first_layer = 0;
  int32_t last_layer = 0;  // exclusive; the same layers as the one before: they share them
  double fraction = 0;     // of shared layers; 0 for all that share: the planner decides

  template <class Visitor>
  void fields(Visitor& visit) {
    visit("device", device);
    visit("first_layer", first_layer);
    visit("last_layer", last_layer);
    visit("fraction", fraction);
  }
};

struct Wishes {
  Sharding sharding = Sharding::kAuto;
  int32_t devices = 0;              // exactly so many; 0: as many as pay
  std::vector<std::string> only;    // ids or names; empty: all
  std::vector<ManualStage> manual;  // in the order of layers; empty: the planner cuts
  std::string transport = "auto";  // else what all pairs must have; the topology has no other links
  Load load;
};

struct Placement {
  std::vector<Stage> stages;
  Prediction prediction;
  std::string sharding;  // "single", "pipeline", "tensor", "pipeline+tensor"
  std::string
      reason;         // in words: what it reads, where the time goes, why it stands where it stands
  std::string error;  // empty when it can run; else what is missing, with device and bytes

  int device_count() const;
};

// Best first; placements that cannot run come last, with their error, so that a refusal explains itself. The error of
// the result itself is for wishes that make no sense (an unknown device, layers that leave a gap).
Result<std::vector<Placement>> plan(const ModelCost& model, const Topology& topology,
                                    const Wishes& wishes);

}  // namespace cohort::cluster
