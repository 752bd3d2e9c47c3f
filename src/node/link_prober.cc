#include "node/link_prober.h"

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "node/formation.h"

namespace cohort::node {
namespace {

constexpr std::chrono::seconds kBetweenLooks{1};    // at whether a pair is to be measured
constexpr std::chrono::seconds kAnswerTimeout{10};  // a runner starts meanwhile
constexpr std::chrono::seconds kLastWordTimeout{5};

std::string ports_of(const cluster::DeviceDocument& device) {
  std::string text;
  for (const cluster::RdmaPortDocument& port : device.rdma.ports) {
    if (port.usable()) text += fmt::format("{} {} {};", port.device, port.port, port.address);
  }
  return text;
}

bool is_measurable(const std::string& transport) {
  return std::ranges::find(kProbedTransports, transport) != kProbedTransports.end();
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
    pauses_.keep_only([this](const std::string& peer) { return mesh_.find(peer) != nullptr; });
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
    if (now_there.empty() || pauses_.holds(peer.id, now)) continue;
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
    pauses_.broke_off(peer, now);
    return;
  }
  pauses_.succeeded(peer);
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

bool LinkProber::is_disturbed(const ProbeTalk& talk) const {
  return around_.busy() || talk.broke_off();
}

// --- the device that begins

net::Task<void> LinkProber::begin(Way way) {
  is_measuring_ = true;
  const std::string now_there = circumstances(way.first);
  const net::TimePoint deadline = net::Clock::now() + around_.limit;
  Result<runner::LinkMeasurement> outcome = fail(Code::kCancelled, "the other device is gone");
  std::string to = way.first, transport = way.second;
  const auto stream = co_await mesh_.open_stream(std::move(to), kProbeStream, deadline);
  if (stream) {
    ProbeTalk talk(executor_, **stream);
    outcome = co_await measure_with(talk, std::move(transport), deadline);
    if (!outcome)  // both will tell it: "here" must not mean two places
      outcome = fail_in("seen from " + name_of(around_.own_id), std::move(outcome).error());
    if (outcome || outcome.error().code != Code::kCancelled) {
      std::string last =
          outcome ? probe_message("measured", *outcome) : probe_failure(outcome.error());
      co_await talk.say(std::move(last));
    }
    co_await talk.close();
    (*stream)->close();
  }
  is_measuring_ = false;
  keep(way, now_there, outcome);
}

net::Task<Result<runner::LinkMeasurement>> LinkProber::measure_with(ProbeTalk& talk,
                                                                    std::string transport,
                                                                    net::TimePoint deadline) {
  const std::string peer = talk.stream().peer();
  ProbeRequest request{.transport = std::move(transport)};
  std::vector<ShardRank> ranks{{0, around_.own_id, name_of(around_.own_id)},
                               {1, peer, name_of(peer)}};
  request.connect = new_connect(std::move(ranks));
  std::string text = dump_json(to_json(request));
  COHORT_CO_TRY_VOID(co_await talk.say(std::move(text)));
  COHORT_CO_TRY(const ShardMessage answer, co_await talk.hear(kAnswerTimeout));
  COHORT_CO_TRY(const auto listening, from_json<runner::Listening>(answer.body));
  request.connect.ranks[1].port = listening.port;
  COHORT_CO_TRY(const auto connect, to_connect_command(request.connect, 0, mesh_));

  const runner::MeasureCommand command{0, request.transport};
  COHORT_CO_TRY(const auto runner,
                MeasuringRunner::start(executor_, around_.runner_command, command));
  talk.listen();
  const auto port = co_await runner->port(deadline);
  if (port) runner->connect(connect);
  std::function<bool()> disturbed = [&] { return is_disturbed(talk); };
  const auto outcome = co_await runner->outcome(std::move(disturbed), deadline);
  co_await runner->close();
  const bool gave_way = !outcome && outcome.error().code == Code::kCancelled;
  if (gave_way && !talk.broke_off()) co_return tl::unexpected(outcome.error());
  // The other may have broken off, and then knows better why.
  const auto ended = co_await talk.hear(kLastWordTimeout);
  if (!ended && (gave_way || ended.error().code == Code::kCancelled))
    co_return tl::unexpected(ended.error());
  if (!outcome) co_return tl::unexpected(outcome.error());
  if (!*outcome) co_return fail(Code::kDataLoss, "the runner that measures said nothing");
  co_return **outcome;
}

// --- the other one

void LinkProber::accept(std::unique_ptr<mesh::Stream> stream) {
  tasks_.spawn(serve(std::move(stream)));
}

net::Task<void> LinkProber::serve(std::unique_ptr<mesh::Stream> stream) {
  ProbeTalk talk(executor_, *stream);
  const auto request = co_await talk.hear_request();
  if (!request || !is_measurable(request->transport) || is_measuring_ || around_.busy()) {
    std::string refusal = probe_message("busy");
    if (request && !is_measurable(request->transport))
      refusal = probe_failure({Code::kUnsupported, request->transport + " is not measured here"});
    co_await talk.say(std::move(refusal));
  } else {
    is_measuring_ = true;
    co_await take_part(talk, *request);
    is_measuring_ = false;
  }
  co_await talk.close();
  stream->close();
}

net::Task<void> LinkProber::take_part(ProbeTalk& talk, const ProbeRequest& request) {
  const std::string peer = talk.stream().peer(), now_there = circumstances(peer);
  const Result<void> done = co_await serve_runner(talk, request);
  if (!done && done.error().code == Code::kCancelled) {
    std::string busy = probe_message("busy");
    co_await talk.say(std::move(busy));
    co_return;
  }
  std::string text = done ? probe_message("ended") : probe_failure(done.error());
  co_await talk.say(std::move(text));
  const auto last = co_await talk.hear(kLastWordTimeout);
  const auto measured = last ? from_json<runner::LinkMeasurement>(last->body)
                             : Result<runner::LinkMeasurement>(tl::unexpected(last.error()));
  if (!now_there.empty()) keep({peer, request.transport}, now_there, measured);
}

// Errors: kCancelled when the measurement was broken off, here or there. What the link comes to is rank 0's to say.
net::Task<Result<void>> LinkProber::serve_runner(ProbeTalk& talk, const ProbeRequest& request) {
  const net::TimePoint deadline = net::Clock::now() + around_.limit;
  COHORT_CO_TRY(const auto connect, to_connect_command(request.connect, 1, mesh_));
  const runner::MeasureCommand command{1, request.transport};
  COHORT_CO_TRY(const auto runner,
                MeasuringRunner::start(executor_, around_.runner_command, command));
  const auto port = co_await runner->port(deadline);
  Result<void> said = port ? Result<void>() : tl::unexpected(port.error());
  if (port) {
    std::string listening = probe_message("listening", runner::Listening{*port});
    said = co_await talk.say(std::move(listening));
    runner->connect(connect);
  }
  talk.listen();
  std::function<bool()> disturbed = [&] { return is_disturbed(talk); };
  const auto outcome = co_await runner->outcome(std::move(disturbed), deadline);
  co_await runner->close();
  // Rank 0's verdict may have come while this runner still waited: it is the last word all the same.
  const bool has_verdict = talk.broke_off() && talk.why_broken().code != Code::kCancelled;
  if (!outcome && outcome.error().code == Code::kCancelled && !has_verdict)
    co_return tl::unexpected(outcome.error());
  co_return said;
}

}  // namespace cohort::node
