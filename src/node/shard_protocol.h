// What the device that drives an instance and a device that runs another rank of it say to each other, on a mesh stream of
// the purpose kShardStream. The driver's first message is a ShardRequest; all later ones both ways are ShardMessages. The
// stream's end is the shard's end.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/json.h"
#include "runner/protocol.h"

namespace cohort::node {

inline constexpr const char* kShardStream = "shard";

struct ShardRequest {
  std::string instance;
  uint64_t epoch = 0;
  std::string model;         // as the member's own catalog knows it
  runner::LoadCommand load;  // its `model`, threads and memory limit are the member's to fill in

  template <class Visitor>
  void fields(Visitor& visit) {
    visit("instance", instance);
    visit("epoch", epoch);
    visit("model", model);
    visit("load", load);
  }
};

// type: "fetching" (the model is being downloaded; said every few seconds), "listening" (runner::Listening), "progress"
// (runner::LoadProgress), "ready" (runner::ReadyInfo), "failed" (runner::Failure); from the driver "connect" (ShardConnect).
struct ShardMessage {
  std::string type;
  Json body = Json::object();

  template <class Visitor>
  void fields(Visitor& visit) {
    visit("type", type);
    visit("body", body);
  }
};

struct ShardRank {
  int32_t rank = 0;
  std::string device;
  std::string name;
  uint16_t port = 0;

  template <class Visitor>
  void fields(Visitor& visit) {
    visit("rank", rank);
    visit("device", device);
    visit("name", name);
    visit("port", port);
  }
};

struct ShardConnect {
  uint64_t attempt = 0;
  std::string key;  // of the data links; "": not encrypted
  std::vector<ShardRank> ranks;

  template <class Visitor>
  void fields(Visitor& visit) {
    visit("attempt", attempt);
    visit("key", key);
    visit("ranks", ranks);
  }
};

}  // namespace cohort::node
