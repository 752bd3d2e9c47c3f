// What memory gives at present. Devices of one machine share it, and hosts of virtual machines, other programs and warm
// chips change it from minute to minute; so before a plan all devices it may use measure it again: those of one machine all
// at once, then each by itself in its turn. It takes a second and a half for two, and is never done beside a generation.
// Loop thread only.
//
// On a stream of the purpose kGaugeStream the asker sends a GaugeTurn; back comes a GaugeReply, or the end of the stream
// where the device has better things to do. The figures travel in the devices' documents.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "cluster/device_document.h"
#include "net/blocking_pool.h"
#include "net/task.h"
#include "node/cluster.h"

namespace cohort::node {

inline constexpr const char* kGaugeStream = "gauge";

struct MeasuringWindow {
  net::TimePoint begin, end;
};

// One device's part in a measurement.
struct GaugeTurn {
  std::string device;
  int32_t turn = 0, turns = 1;  // among the devices of its machine

  template <class Visitor>
  void fields(Visitor& visit) {
    visit("device", device);
    visit("turn", turn);
    visit("turns", turns);
  }
  bool operator==(const GaugeTurn&) const = default;
};

struct GaugeReply {
  int64_t measured_unix_ms = 0;  // as in its document

  template <class Visitor>
  void fields(Visitor& visit) {
    visit("measured_unix_ms", measured_unix_ms);
  }
};

// Those of machines on which nothing is generated, loaded or calibrated; whole machines, of at most kMostTurns devices.
std::vector<GaugeTurn> gauge_turns(const cluster::Devices& devices,
                                   const cluster::PlanDocument& plan);

class MemoryGauge {
 public:
  static constexpr int32_t kMostTurns = 8;
  static constexpr std::chrono::seconds kFresh{2};  // what is younger is not measured again

  struct Outward {
    // GB/s in each window, which may fail with kTimeout where there was no time to prepare. Called on another thread.
    std::function<Result<std::vector<double>>(const std::vector<MeasuringWindow>&)> measure;
    std::function<bool()> busy;
    std::function<void()> changed;  // speed() has
  };

  MemoryGauge(net::Executor executor, Cluster& cluster, net::BlockingPool& pool, Outward outward);

  // Has memory measured wherever that is due, and returns when the documents here say what came of it.
  net::Task<void> refresh();
  net::Task<void> serve(std::unique_ptr<mesh::Stream> stream);

  const cluster::MemorySpeed& speed() const { return speed_; }
  bool measuring() const { return measuring_; }
  net::Task<void> close();

 private:
  void start_round();
  net::Task<void> ask(GaugeTurn turn);
  net::Task<Result<void>> ask_device(GaugeTurn turn);
  net::Task<void> take_turn(GaugeTurn turn);
  net::Task<void> wait_for_documents();
  bool all_arrived() const;

  Cluster& cluster_;
  net::BlockingPool& pool_;
  const Outward outward_;
  cluster::MemorySpeed speed_;
  bool measuring_ = false;
  net::TimePoint next_round_{};
  size_t pending_ = 0;                       // turns of this round
  std::map<std::string, int64_t> promised_;  // what documents will say, by device
  net::Notification done_;
  net::TaskGroup tasks_;
};

}  // namespace cohort::node
