// The ranks this device runs for instances that other devices drive: one runner for each stream a driver opens. Loop thread
// only.
#pragma once

#include <functional>
#include <list>
#include <memory>
#include <string>
#include <vector>

#include "cluster/device_document.h"
#include "mesh/mesh.h"
#include "net/blocking_pool.h"
#include "node/model_catalog.h"
#include "node/shard_protocol.h"

namespace cohort::node {

struct ShardHostOptions {
  std::vector<std::string> runner_command;
  bool takes_shards = true;
  std::function<runner::LoadCommand(runner::LoadCommand)>
      localize;  // threads, memory limit of this device
  std::function<void()> on_change = [] {};
};

class ShardHost {
 public:
  static constexpr size_t kMaxShards = 64;

  ShardHost(net::Executor executor, mesh::Mesh& mesh, const ModelCatalog& catalog,
            net::BlockingPool& pool, ShardHostOptions options);
  ~ShardHost();  // after close()

  void accept(std::unique_ptr<mesh::Stream> stream);
  std::vector<cluster::ShardDocument> shards() const;
  net::Task<void> close();  // ends all

 private:
  class Shard;

  net::Task<void> run(std::list<std::unique_ptr<Shard>>::iterator shard);

  net::Executor executor_;
  mesh::Mesh& mesh_;
  const ModelCatalog& catalog_;
  net::BlockingPool& pool_;
  const ShardHostOptions options_;
  std::list<std::unique_ptr<Shard>> shards_;
  net::TaskGroup tasks_;
};

}  // namespace cohort::node
