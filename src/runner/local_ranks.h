// All ranks of one model inside this process, each a thread with a backend of its own, over real links: what
// `cohort verify --ranks` and tests drive. The ranks do what those of runner processes do.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "base/result.h"
#include "runner/loaded_model.h"
#include "runner/protocol.h"
#include "runner/rank.h"
#include "transport/local_groups.h"

namespace cohort::runner {

struct LocalRanksOptions {
  LoadCommand command;                           // with a group; of all ranks
  std::vector<std::string> backends = {"auto"};  // rank r computes on backends[r % size]
  transport::LinkType links = transport::LinkType::kTcp;
  std::optional<transport::LinkKey> secret;  // none: not encrypted
  std::optional<transport::SlowPath> path;   // none: as fast as the links are
  std::vector<double> paces;                 // of each rank, of its full pace; empty: 1
  int32_t kv_pages = 0;
};

class LocalRanks {
 public:
  // When all have loaded. Errors of load_model(), of any rank.
  static Result<std::unique_ptr<LocalRanks>> start(const LocalRanksOptions& options);
  ~LocalRanks();  // ends the group

  // Rank 0, on the thread that called start().
  RankExecutor& executor() { return first_->executor; }
  const LoadedModel& first() const { return first_->model; }      // rank 0's part
  uint64_t weight_bytes() const { return weight_bytes_.load(); }  // of all ranks

 private:
  struct First {
    LoadedModel model;
    std::unique_ptr<Rank> rank;
    RankExecutor executor{*rank};
  };
  void serve(const LocalRanksOptions& options, const Placement& placement, transport::Group& group);
  Result<LoadedModel> load(const LocalRanksOptions& options, const Placement& placement,
                           transport::Group& group);
  Result<void> start_first(const LocalRanksOptions& options, const Placement& placement);

  LocalRanks() = default;

  std::atomic<uint64_t> weight_bytes_{0};  // added to by each rank before all are ready
  std::vector<std::unique_ptr<transport::Group>> groups_;  // of each rank
  std::vector<std::thread> others_;
  std::unique_ptr<First> first_;
};

}  // namespace cohort::runner
