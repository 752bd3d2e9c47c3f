// A placed model: its runner, kept alive, and the requests it works on.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "cluster/device_document.h"
#include "net/task.h"
#include "node/formation.h"
#include "node/generation.h"
#include "node/model_catalog.h"
#include "node/restart_policy.h"
#include "node/runner_process.h"
#include "runner/protocol.h"

namespace cohort::node {

enum class InstanceState { kLoading, kReady, kHealing, kFailed };
std::string_view state_name(InstanceState state);

struct InstanceOptions {
  std::string id;
  ModelLocation model;
  runner::LoadCommand load;
  // Of a model that several devices share: its epoch, and all ranks, ours (0) first. Else no ranks.
  uint64_t epoch = 1;
  std::vector<ShardRank> ranks;
  mesh::Mesh* mesh = nullptr;                                   // with ranks
  std::function<bool(const std::string& device)> is_reachable;  // with ranks
  std::vector<std::string> runner_command;
  std::chrono::milliseconds idle_unload{600'000};  // without a request; 0: never
  RestartPolicy::Options restart;
  std::chrono::milliseconds load_silence{600'000};  // loading without a word from the runner
  std::chrono::milliseconds busy_silence{120'000};  // working without a word from the runner
  std::chrono::milliseconds stop_grace{5'000};
  std::function<void()> on_change = [] {};  // of state
  std::function<void()> on_stats = [] {};   // of what it does
  std::function<void()> on_idle = [] {};    // for idle_unload: time to go
};

class Instance final : public GenerationOwner {
 public:
  Instance(net::Executor executor, InstanceOptions options);
  ~Instance() override;  // after run() has returned

  // The instance's life: returns when it was stopped or unloaded. The owner spawns it once.
  net::Task<void> run();
  void stop(std::string why);  // ends requests with `why`, then the runner

  // All requests, withdrawn from the runner and without an owner: for whoever goes on with them elsewhere.
  std::vector<Generation*> give_up_requests();

  // Takes the generation on: now, or when the runner is ready. kResourceExhausted: too many wait; kUnavailable: failed.
  Result<void> accept(Generation& generation);

  cluster::ShardDocument document() const;  // of rank 0
  InstanceState state() const { return state_; }
  size_t requests() const { return generations_.size(); }  // not yet finished
  const InstanceOptions& options() const { return options_; }
  bool stopping() const { return stopping_; }
  net::TimePoint last_token_at() const { return last_token_at_; }

  void on_dropped(Generation& generation) override;
  void on_drained(Generation& generation) override;

 private:
  struct Run {  // one request the runner knows
    Generation* generation;
    int32_t first_choice;
    int32_t unfinished_choices;
  };

  net::Task<void> watch();
  net::Task<std::string> run_runner(RunnerProcess& runner);
  net::Task<bool> recover(std::string what);
  bool all_ranks_linked() const;
  void form();
  bool is_shared() const { return !options_.ranks.empty(); }
  net::TimePoint next_deadline() const;
  void on_deadline();
  void set_state(InstanceState state, std::string reason);
  void become_failed(Error error);

  void on_frame(const runner::Frame& frame);
  void on_ready(const runner::Frame& frame);
  void on_delta(runner::GenerateDelta delta);
  void finish(Generation& generation);
  void submit(Generation& generation);
  void submit_run(Generation& generation, runner::GenerateRequest request, int32_t first_choice);
  void withdraw(Generation& generation);  // from the runner
  bool is_running(const Generation& generation) const;
  void submit_next_suspect();
  void fail_generations(const Error& error);
  void blame_crash(const std::string& how);
  void record_speed(const runner::GenerateDelta& last);
  double decode_tokens_per_s() const;  // of one stream, over the last few answers; 0: none yet

  net::Executor executor_;
  const InstanceOptions options_;
  InstanceState state_ = InstanceState::kLoading;
  std::string reason_;
  std::optional<Error> failure_;  // what the runner itself, or another rank, gave as the reason
  std::optional<Formation> formation_;
  bool stopping_ = false;
  std::string why_stopping_;
  net::TimePoint stop_deadline_ = net::kNever;
  net::TimePoint idle_since_ = net::Clock::now();
  net::TimePoint last_submit_at_;
  net::TimePoint last_token_at_;
  RestartPolicy restart_;
  RunnerProcess* runner_ = nullptr;  // in the frame of run()
  runner::LoadProgress progress_;
  std::optional<runner::ReadyInfo> ready_;
  runner::RunnerStats stats_;
  int32_t heals_ = 0;
  std::deque<std::pair<double, double>> speeds_;  // tokens and seconds of the last answers
  uint64_t next_run_id_ = 1;
  std::unordered_map<uint64_t, Run> runs_;
  std::vector<Generation*> generations_;  // in order of arrival; each tells us when it goes
  net::Notification changed_;
  net::TaskGroup tasks_;
};

}  // namespace cohort::node
