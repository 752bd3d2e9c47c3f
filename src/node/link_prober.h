// What ranks of this device and of its peers can be linked by beside TCP, found out by trying: when both have a port for
// RDMA, a runner here and one there link by each of kProbedTransports and measure that link (docs/rdma.md). The device
// with the smaller id begins. One pair at a time, never while either device has something else to do; again when ports
// change, a device starts anew, or the last time is long ago.
// Why it did not work is a result like any other. Loop thread only.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "cluster/leadership.h"
#include "mesh/mesh.h"
#include "node/measuring_runner.h"
#include "node/probe_talk.h"
#include "node/retry_pauses.h"

namespace cohort::node {

inline constexpr std::array<std::string_view, 2> kProbedTransports = {"verbs", "ucx"};

class LinkProber {
 public:
  static constexpr std::chrono::minutes kFresh{10};  // then a pair is measured again
  static constexpr std::chrono::seconds kLimit{25};  // of a measurement

  struct Surroundings {
    std::vector<std::string> runner_command;
    std::string own_id;
    std::function<const cluster::Devices&()> devices;
    std::function<bool()> busy;  // this device has something else to do
    std::function<void()> changed;
    std::chrono::seconds limit = kLimit;
  };
  LinkProber(net::Executor executor, mesh::Mesh& mesh, Surroundings around);

  void accept(std::unique_ptr<mesh::Stream> stream);  // a peer begins
  void describe(cluster::LinkDocument& link) const;   // adds what is known of the pair
  bool is_measuring() const { return is_measuring_; }
  net::Task<void> close();

 private:
  using Way = std::pair<std::string, std::string>;  // peer, transport
  struct Finding {
    std::string circumstances;  // it holds while they are the same
    std::optional<runner::LinkMeasurement> measured;
    std::string reason;  // of none
    net::TimePoint when;
  };

  net::Task<void> run();
  std::optional<Way> next_way() const;
  std::string circumstances(const std::string& peer) const;
  net::Task<void> begin(Way way);
  net::Task<Result<runner::LinkMeasurement>> measure_with(ProbeTalk& talk, std::string transport,
                                                          net::TimePoint deadline);
  net::Task<void> serve(std::unique_ptr<mesh::Stream> stream);
  net::Task<void> take_part(ProbeTalk& talk, const ProbeRequest& request);
  net::Task<Result<void>> serve_runner(ProbeTalk& talk, const ProbeRequest& request);
  bool is_disturbed(const ProbeTalk& talk) const;
  void keep(const Way& way, const std::string& circumstances,
            const Result<runner::LinkMeasurement>& outcome);
  std::string name_of(const std::string& device) const;

  net::Executor executor_;
  mesh::Mesh& mesh_;
  const Surroundings around_;
  std::map<Way, Finding> findings_;
  RetryPauses pauses_;  // of peers with whom a measurement was broken off
  bool is_measuring_ = false;
  net::TaskGroup tasks_;
};

}  // namespace cohort::node
