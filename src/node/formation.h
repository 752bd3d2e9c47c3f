// Brings the other ranks of an instance up, over mesh streams, from the device that drives it: tells each what to load,
// gathers the ports they listen on, and gives everyone everyone's. Loop thread only.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "mesh/mesh.h"
#include "node/shard_protocol.h"

namespace cohort::node {

// Between these, with a key of its own.
ShardConnect new_connect(std::vector<ShardRank> ranks);

// Where ranks are, as this device reaches them. kUnavailable names a device without a link.
Result<runner::ConnectCommand> to_connect_command(const ShardConnect& connect, int32_t own_rank,
                                                  const mesh::Mesh& mesh);

// For a shard's document: by rank, "" where no link was told of.
std::vector<std::string> transports_by_rank(const std::vector<runner::RankLink>& links);

struct FormationOptions {
  std::string instance;
  uint64_t epoch = 0;
  std::string model;
  runner::LoadCommand load;      // with its group; the ranks' commands are made of it
  std::vector<ShardRank> ranks;  // all, ours (0) first; ports are filled in
};

struct FormationEvents {
  std::function<void(const runner::ConnectCommand&)> connect;  // for our own runner
  // A rank cannot take part (any more); said once. The message names the device.
  std::function<void(Error)> lost;
};

class Formation {
 public:
  static constexpr std::chrono::seconds kSilence{600};  // of a rank that has something to load

  Formation(net::Executor executor, mesh::Mesh& mesh, FormationOptions options,
            FormationEvents events);

  void start();
  void set_own_port(uint16_t port);                          // where our own runner listens
  net::TimePoint last_heard() const { return last_heard_; }  // of any other rank
  net::Task<void> close();  // ends the other ranks; nothing is said any more

 private:
  struct Rank {
    std::unique_ptr<mesh::Stream> stream;
    bool is_silent = false;  // it has loaded, and has no more to say until it is lost
  };

  net::Task<void> bring_up(size_t index);
  net::Task<Result<void>> talk(size_t index);
  Result<void> on_message(size_t index, const ShardMessage& message);
  void connect_if_complete();
  net::Task<void> send_connect(size_t index, std::string message);
  void lose(size_t index, const Error& error);

  mesh::Mesh& mesh_;
  FormationOptions options_;
  FormationEvents events_;
  std::vector<Rank> ranks_;  // by rank; [0] is ours and has no stream
  net::TimePoint last_heard_ = net::Clock::now();
  bool connected_ = false;
  bool lost_ = false;
  net::TaskGroup tasks_;
};

}  // namespace cohort::node
