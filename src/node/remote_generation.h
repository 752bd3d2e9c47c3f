// A generation that another device works on: the request goes out on a mesh stream, the deltas come back on it. Loop thread
// only.
//
// On a stream of the purpose kGenerateStream the first message is a RemoteRequest; every message back is a RemoteDeltas.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "mesh/mesh.h"
#include "node/generation.h"

namespace cohort::node {

inline constexpr const char* kGenerateStream = "generate";

struct RemoteRequest {
  std::string instance;
  runner::GenerateRequest request;

  template <class Visitor>
  void fields(Visitor& visit) {
    visit("instance", instance);
    visit("request", request);
  }
};

struct RemoteDeltas {
  std::vector<runner::GenerateDelta> deltas;
  std::optional<runner::Failure> failure;  // the end

  template <class Visitor>
  void fields(Visitor& visit) {
    visit("deltas", deltas);
    visit("failure", failure);
  }
};

// The asking side.
class RemoteGeneration final : public GenerationOwner {
 public:
  RemoteGeneration(net::Executor executor, mesh::Mesh& mesh, std::string device,
                   std::string instance, Generation& generation);

  // Until the generation has finished or failed, was dropped, or lost its device: then lost() says why, and it has no
  // owner.
  net::Task<void> run();
  Generation* lost() const { return generation_; }
  const Error& why() const { return *why_; }
  void abandon(const Error& error);  // after run() was cancelled

  void on_dropped(Generation& generation) override;
  void on_drained(Generation& generation) override;

 private:
  net::Task<void> run_choices(runner::GenerateRequest request, int32_t first_choice);
  net::Task<Result<void>> relay(runner::GenerateRequest request, int32_t first_choice);
  net::Task<void> wait_for_room();

  mesh::Mesh& mesh_;
  const std::string device_, instance_;
  Generation* generation_;  // null once it is gone
  std::optional<Error> why_;
  net::Notification drained_;
  net::TaskGroup tasks_;
};

// The working side: answers one stream. `start` gives the generation, or why there is none.
net::Task<void> serve_generation(std::unique_ptr<mesh::Stream> stream,
                                 std::function<Result<std::unique_ptr<Generation>>(
                                     const std::string& instance, runner::GenerateRequest request)>
                                     start);

}  // namespace cohort::node
