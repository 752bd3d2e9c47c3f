// What two devices say to each other about a measurement of their link, on a mesh stream of the purpose kProbeStream. The
// first message is a ProbeRequest of rank 0, ShardMessages follow: from rank 1 "listening" (runner::Listening), then, when
// its runner has ended, "ended"; or "busy" in place of either, or "failed" (runner::Failure); from rank 0, as the last word,
// "measured" (runner::LinkMeasurement) or "failed".
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "base/json.h"
#include "mesh/stream.h"
#include "net/task.h"
#include "node/shard_protocol.h"

namespace cohort::node {

inline constexpr const char* kProbeStream = "probe";

struct ProbeRequest {
  std::string transport;
  ShardConnect connect;  // rank 0 asks

  template <class Visitor>
  void fields(Visitor& visit) {
    visit("transport", transport);
    visit("connect", connect);
  }
};

template <class T>
std::string probe_message(const char* type, const T& body) {
  return dump_json(to_json(ShardMessage{type, to_json(body)}));
}
std::string probe_message(const char* type);
std::string probe_failure(const Error& error);

// One end of it. Errors of kCancelled say nothing of the link: the other device has something else to do, broke off, is
// silent or gone. Others are what the other device reports ("failed"). Loop thread only.
class ProbeTalk {
 public:
  ProbeTalk(net::Executor executor, mesh::Stream& stream);  // the stream outlives it
  ~ProbeTalk();                                             // after close()

  net::Task<Result<void>> say(std::string message);
  net::Task<Result<ProbeRequest>> hear_request();
  // The next message: what was listened to meanwhile, or what comes in time.
  net::Task<Result<ShardMessage>> hear(std::chrono::seconds patience);

  // Hears in the background from now on, until the next hear().
  void listen();
  bool broke_off() const { return heard_ && !*heard_; }  // the other one, while listened to
  const Error& why_broken() const { return heard_->error(); }

  mesh::Stream& stream() { return stream_; }
  net::Task<void> close();

 private:
  net::Task<Result<ShardMessage>> read(net::TimePoint deadline);
  net::Task<void> keep_next();

  mesh::Stream& stream_;
  std::optional<Result<ShardMessage>> heard_;
  bool listening_ = false;
  net::Notification changed_;
  net::TaskGroup tasks_;
};

}  // namespace cohort::node
