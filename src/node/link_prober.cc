#include "node/link_prober.h"

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "node/formation.h"

namespace cohort::node {
namespace {

constexpr std::chrono::seconds kBetweenLooks{1};  // at whether a pair is to be measured
constexpr std::chrono::seconds kRetryBusy{3};
constexpr std::chrono::seconds kWriteTimeout{5};
constexpr std::chrono::seconds kAnswerTimeout{10};  // a runner starts meanwhile
constexpr std::chrono::seconds kLastWordTimeout{5};

// What follows a ProbeRequest are ShardMessages: from rank 1 "listening" (runner::Listening), then, when its runner has
// ended, "ended"; or "busy" in place of either, or "failed" (runner::Failure); from rank 0, as the last word, "measured"
// (runner::LinkMeasurement) or "failed".

Error disturbed() { return {Code::kCancelled, "something else needs the device"}; }

template <class T>
std::string to_message(const char* type, const T& body) {
  return dump_json(to_json(ShardMessage{type, to_json(body)}));
}
std::string to_message(const char* type) { return dump_json(to_json(ShardMessage{type})); }

std::string failure_message(const Error& error) {
  return to_message("failed", runner::Failure{std::string(code_name(error.code)), error.message});
}

net::Task<Result<void>> say(mesh::Stream& stream, std::string message) {
  const net::TimePoint deadline = net::Clock::now() + kWriteTimeout;
  Result<void> written = co_await stream.write(std::move(message), deadline);
  co_return written;
}

// "busy" and "failed" are errors.
net::Task<Result<ShardMessage>> hear(mesh::Stream& stream, std::chrono::seconds patience) {
  const net::TimePoint deadline = net::Clock::now() + patience;
  auto received = co_await stream.read(deadline);
  if (!received) co_return tl::unexpected(received.error());
  if (!*received) co_return fail(Code::kUnavailable, "the other device broke off");
  COHORT_CO_TRY(ShardMessage message, read_json<ShardMessage>(**received));
  if (message.type == "busy") co_return tl::unexpected(disturbed());
  if (message.type != "failed") co_return message;
  COHORT_CO_TRY(const auto failure, from_json<runner::Failure>(message.body));
  co_return tl::unexpected(Error{code_from_name(failure.code), failure.message});
}

net::Task<Result<ProbeRequest>> read_request(mesh::Stream& stream) {
  const net::TimePoint deadline = net::Clock::now() + kAnswerTimeout;
  const auto received = co_await stream.read(deadline);
  if (!received) co_return tl::unexpected(received.error());
  if (!*received) co_return fail(Code::kUnavailable, "the other device broke off");
  COHORT_CO_TRY(ProbeRequest request, read_json<ProbeRequest>(**received));
  if (std::ranges::find(kProbedTransports, request.transport) == kProbedTransports.end())
    co_return fail(Code::kUnsupported, "'{}' is not measured here", request.transport);
  co_return request;
}

std::string ports_of(const cluster::DeviceDocument& device) {
  std::string text;
  for (const cluster::RdmaPortDocument& port : device.rdma.ports) {
    if (port.usable()) text += fmt::format("{} {} {};", port.device, port.port, port.address);
  }
  return text;
}

}  // namespace

LinkProber::LinkProber(net::Executor executor, mesh::Mesh& mesh, Surroundings around)
    : executor_(executor), mesh_(mesh), around_(std::move(around)), tasks_(executor) {
  tasks_.spawn(run());
}

net::Task<void> LinkProber::close() { co_await tasks_.close(); }

net::Task<void> LinkProber::run() {
  for (;;) {
    const net::Wake wake = co_await net::sleep_until(net::Clock::now() + kBetweenLooks);
    if (wake == net::Wake::kCancelled) co_return;
    if (is_measuring_ || around_.busy()) continue;
    std::optional<Way> way = next_way();
    if (way) co_await begin(std::move(*way));
  }
}

// Of those that we begin with: never measured under these circumstances, or the longest ago.
std::optional<LinkProber::Way> LinkProber::next_way() const {
  std::optional<Way> next;
  const net::TimePoint now = net::Clock::now();
  net::TimePoint oldest = now - kFresh;
  for (const mesh::Peer& peer : mesh_.peers()) {
    const std::string now_there = peer.id > around_.own_id ? circumstances(peer.id) : "";
    const auto held_back = not_before_.find(peer.id);
    if (now_there.empty() || (held_back != not_before_.end() && now < held_back->second)) continue;
    for (const std::string_view transport : kProbedTransports) {
      Way way(peer.id, transport);
      const auto known = findings_.find(way);
      const bool holds = known != findings_.end() && known->second.circumstances == now_there;
      const net::TimePoint when = holds ? known->second.when : net::TimePoint::min();
      if (when >= oldest) continue;
      oldest = when;
      next = std::move(way);
    }
  }
  return next;
}

// Empty: one of the two has no port to try.
std::string LinkProber::circumstances(const std::string& peer) const {
  const cluster::Devices& devices = around_.devices();
  const auto own = devices.find(around_.own_id), other = devices.find(peer);
  const mesh::Peer* linked = mesh_.find(peer);
  if (own == devices.end() || other == devices.end() || linked == nullptr) return "";
  const std::string ours = ports_of(own->second), theirs = ports_of(other->second);
  if (ours.empty() || theirs.empty()) return "";
  return fmt::format("{}-{}{}", ours, theirs, linked->boot_unix_ms);
}

std::string LinkProber::name_of(const std::string& device) const {
  const auto known = around_.devices().find(device);
  return known == around_.devices().end() ? device : known->second.name;
}

void LinkProber::keep(const Way& way, const std::string& circumstances,
                      const Result<runner::LinkMeasurement>& outcome) {
  const std::string& peer = way.first;
  const net::TimePoint now = net::Clock::now();
  if (!outcome && outcome.error().code == Code::kCancelled) {
    not_before_[peer] = now + kRetryBusy;
    return;
  }
  Finding finding{.circumstances = circumstances, .when = now};
  if (outcome) {
    finding.measured = *outcome;
    log::info("device {} is reached by {}: round trip {:.1f} us, {:.0f} Mbit/s", name_of(peer),
              outcome->transport, outcome->rtt_us_p50, outcome->bandwidth_mbit_per_s);
  } else {
    finding.reason = outcome.error().message;
    log::info("device {} is not reached by {}: {}", name_of(peer), way.second, finding.reason);
  }
  findings_[way] = std::move(finding);
  around_.changed();
}

void LinkProber::describe(cluster::LinkDocument& link) const {
  const std::string now_there = circumstances(link.peer);
  for (const std::string_view transport : kProbedTransports) {
    const auto found = findings_.find(Way(link.peer, transport));
    if (found == findings_.end() || found->second.circumstances != now_there) continue;
    const auto& measured = found->second.measured;
    if (!measured) {
      link.missing_ways.push_back({std::string(transport), found->second.reason});
      continue;
    }
    link.ways.push_back({.transport = std::string(transport),
                         .rtt_us_p50 = measured->rtt_us_p50,
                         .rtt_us_p99 = measured->rtt_us_p99,
                         .bandwidth_mbit_per_s = measured->bandwidth_mbit_per_s});
  }
}

// --- the device that begins

net::Task<void> LinkProber::begin(Way way) {
  is_measuring_ = true;
  const std::string now_there = circumstances(way.first);
  const net::TimePoint deadline = net::Clock::now() + kLimit;
  Result<runner::LinkMeasurement> outcome = fail(Code::kUnavailable, "not tried");
  std::string to = way.first, transport = way.second;
  const auto stream = co_await mesh_.open_stream(std::move(to), kProbeStream, deadline);
  if (stream) {
    outcome = co_await measure_with(**stream, std::move(transport), deadline);
    if (!outcome)  // both will tell it: "here" must not mean two places
      outcome = fail_in("seen from " + name_of(around_.own_id), std::move(outcome).error());
    if (outcome || outcome.error().code != Code::kCancelled) {
      std::string last =
          outcome ? to_message("measured", *outcome) : failure_message(outcome.error());
      co_await say(**stream, std::move(last));
    }
    (*stream)->close();
  } else {
    outcome = tl::unexpected(stream.error());
  }
  is_measuring_ = false;
  keep(way, now_there, outcome);
}

net::Task<Result<runner::LinkMeasurement>> LinkProber::measure_with(mesh::Stream& stream,
                                                                    std::string transport,
                                                                    net::TimePoint deadline) {
  ProbeRequest request{.transport = std::move(transport)};
  std::vector<ShardRank> ranks{{0, around_.own_id, name_of(around_.own_id)},
                               {1, stream.peer(), name_of(stream.peer())}};
  request.connect = new_connect(std::move(ranks));
  std::string text = dump_json(to_json(request));
  COHORT_CO_TRY_VOID(co_await say(stream, std::move(text)));
  COHORT_CO_TRY(const ShardMessage answer, co_await hear(stream, kAnswerTimeout));
  COHORT_CO_TRY(const auto listening, from_json<runner::Listening>(answer.body));
  request.connect.ranks[1].port = listening.port;
  COHORT_CO_TRY(const auto connect, to_connect_command(request.connect, 0, mesh_));

  const runner::MeasureCommand command{0, request.transport};
  COHORT_CO_TRY(const auto runner,
                MeasuringRunner::start(executor_, around_.runner_command, command));
  const auto port = co_await runner->port(deadline);
  if (port) runner->connect(connect);
  std::function<bool()> busy = around_.busy;
  const auto outcome = co_await runner->outcome(std::move(busy), deadline);
  co_await runner->close();
  if (!outcome && outcome.error().code == Code::kCancelled)
    co_return tl::unexpected(outcome.error());
  // The other may have broken off, and then knows better why.
  const auto ended = co_await hear(stream, kLastWordTimeout);
  if (!ended && ended.error().code == Code::kCancelled) co_return tl::unexpected(ended.error());
  if (!outcome) co_return tl::unexpected(outcome.error());
  if (!*outcome) co_return fail(Code::kDataLoss, "the runner that measures said nothing");
  co_return **outcome;
}

// --- the other one

void LinkProber::accept(std::unique_ptr<mesh::Stream> stream) {
  tasks_.spawn(serve(std::move(stream)));
}

net::Task<void> LinkProber::serve(std::unique_ptr<mesh::Stream> stream) {
  const auto request = co_await read_request(*stream);
  if (!request || is_measuring_ || around_.busy()) {
    std::string refusal = request ? to_message("busy") : failure_message(request.error());
    co_await say(*stream, std::move(refusal));
    stream->close();
    co_return;
  }
  is_measuring_ = true;
  const std::string peer = stream->peer(), now_there = circumstances(peer);
  const net::TimePoint deadline = net::Clock::now() + kLimit;
  const Result<void> done = co_await take_part(*stream, *request, deadline);
  const bool was_disturbed = !done && done.error().code == Code::kCancelled;
  std::string text = done            ? to_message("ended")
                     : was_disturbed ? to_message("busy")
                                     : failure_message(done.error());
  const auto said = co_await say(*stream, std::move(text));
  if (said && !was_disturbed) {
    const auto last = co_await hear(*stream, kLastWordTimeout);
    const auto measured = last ? from_json<runner::LinkMeasurement>(last->body)
                               : Result<runner::LinkMeasurement>(tl::unexpected(last.error()));
    if (!now_there.empty()) keep({peer, request->transport}, now_there, measured);
  }
  stream->close();
  is_measuring_ = false;
}

// Errors: kCancelled when this device was needed for something else. What the link comes to is rank 0's to say.
net::Task<Result<void>> LinkProber::take_part(mesh::Stream& stream, const ProbeRequest& request,
                                              net::TimePoint deadline) {
  COHORT_CO_TRY(const auto connect, to_connect_command(request.connect, 1, mesh_));
  const runner::MeasureCommand command{1, request.transport};
  COHORT_CO_TRY(const auto runner,
                MeasuringRunner::start(executor_, around_.runner_command, command));
  const auto port = co_await runner->port(deadline);
  Result<void> said = port ? Result<void>() : tl::unexpected(port.error());
  if (port) {
    std::string listening = to_message("listening", runner::Listening{*port});
    said = co_await say(stream, std::move(listening));
    runner->connect(connect);
  }
  std::function<bool()> busy = around_.busy;
  const auto outcome = co_await runner->outcome(std::move(busy), deadline);
  co_await runner->close();
  if (!outcome && outcome.error().code == Code::kCancelled)
    co_return tl::unexpected(outcome.error());
  co_return said;
}

}  // namespace cohort::node
