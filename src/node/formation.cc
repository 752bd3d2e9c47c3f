#include "node/formation.h"

#include <algorithm>
#include <random>

#include "base/log.h"

namespace cohort::node {
namespace {

constexpr std::chrono::seconds kWriteTimeout{10};
constexpr double kConnectSeconds = 15;

std::string random_key() {
  std::random_device random;
  std::string key;
  while (key.size() < 64) key += fmt::format("{:08x}", random());
  return key;
}

uint64_t random_attempt() {
  std::random_device random;
  return (static_cast<uint64_t>(random()) << 20) ^ random();  // exact in JSON's numbers
}

template <class T>
std::string to_message(const char* type, const T& body) {
  return dump_json(to_json(ShardMessage{type, to_json(body)}));
}

}  // namespace

ShardConnect new_connect(std::vector<ShardRank> ranks) {
  return {random_attempt(), random_key(), std::move(ranks)};
}

Result<runner::ConnectCommand> to_connect_command(const ShardConnect& connect, int32_t own_rank,
                                                  const mesh::Mesh& mesh) {
  runner::ConnectCommand command{.instance = connect.attempt, .key = connect.key};
  command.timeout_seconds = kConnectSeconds;
  for (const ShardRank& rank : connect.ranks) {
    if (rank.rank == own_rank) continue;
    std::string address = mesh.address_of(rank.device);
    if (address.empty()) return fail(Code::kUnavailable, "there is no way to device {}", rank.name);
    command.ranks.push_back({rank.rank, std::move(address), rank.port, rank.name});
  }
  return command;
}

std::vector<std::string> transports_by_rank(const std::vector<runner::RankLink>& links) {
  constexpr int32_t kMaxRanks = 4096;
  std::vector<std::string> transports;
  for (const runner::RankLink& link : links) {
    if (link.rank < 0 || link.rank >= kMaxRanks) continue;
    const auto rank = static_cast<size_t>(link.rank);
    transports.resize(std::max(transports.size(), rank + 1));
    transports[rank] = link.transport;
  }
  return transports;
}

Formation::Formation(net::Executor executor, mesh::Mesh& mesh, FormationOptions options,
                     FormationEvents events)
    : mesh_(mesh), options_(std::move(options)), events_(std::move(events)), tasks_(executor) {
  ranks_.resize(options_.ranks.size());
}

void Formation::start() {
  for (size_t index = 1; index < ranks_.size(); ++index) tasks_.spawn(bring_up(index));
}

void Formation::set_own_port(uint16_t port) {
  options_.ranks[0].port = port;
  connect_if_complete();
}

net::Task<void> Formation::close() {
  lost_ = true;
  co_await tasks_.close();
  for (Rank& rank : ranks_) {
    if (rank.stream) rank.stream->close();
  }
}

net::Task<void> Formation::bring_up(size_t index) {
  const Result<void> ended = co_await talk(index);
  if (!ended && ended.error().code != Code::kCancelled) lose(index, ended.error());
}

net::Task<Result<void>> Formation::talk(size_t index) {
  const ShardRank& rank = options_.ranks[index];
  auto opened =
      co_await mesh_.open_stream(rank.device, kShardStream, net::Clock::now() + kWriteTimeout);
  if (!opened) co_return tl::unexpected(opened.error());
  mesh::Stream& stream = *(ranks_[index].stream = std::move(*opened));
  ShardRequest request{options_.instance, options_.epoch, options_.model, options_.load};
  request.load.rank = rank.rank;
  std::string text = dump_json(to_json(request));
  COHORT_CO_TRY_VOID(co_await stream.write(std::move(text), net::Clock::now() + kWriteTimeout));
  for (;;) {
    const auto deadline = ranks_[index].is_silent ? net::kNever : net::Clock::now() + kSilence;
    auto received = co_await stream.read(deadline);
    if (!received) co_return tl::unexpected(received.error());
    if (!*received) co_return fail(Code::kUnavailable, "its runner ended");
    last_heard_ = net::Clock::now();
    COHORT_CO_TRY(const ShardMessage message, read_json<ShardMessage>(**received));
    COHORT_CO_TRY_VOID(on_message(index, message));
  }
}

Result<void> Formation::on_message(size_t index, const ShardMessage& message) {
  if (message.type == "listening") {
    COHORT_TRY(const auto listening, from_json<runner::Listening>(message.body));
    options_.ranks[index].port = listening.port;
    connect_if_complete();
  } else if (message.type == "progress") {
    COHORT_TRY(const auto progress, from_json<runner::LoadProgress>(message.body));
    ranks_[index].is_silent = progress.layers_loaded >= progress.total_layers;
  } else if (message.type == "ready") {
    ranks_[index].is_silent = true;
  } else if (message.type == "failed") {
    COHORT_TRY(const auto failure, from_json<runner::Failure>(message.body));
    return tl::unexpected(Error{code_from_name(failure.code), failure.message});
  }
  return {};
}

void Formation::connect_if_complete() {
  const auto listens = [](const ShardRank& rank) { return rank.port != 0; };
  if (connected_ || !std::all_of(options_.ranks.begin(), options_.ranks.end(), listens)) return;
  connected_ = true;
  const ShardConnect connect = new_connect(options_.ranks);
  const auto own = to_connect_command(connect, 0, mesh_);
  if (!own) return lose(0, own.error());
  events_.connect(*own);
  for (size_t index = 1; index < ranks_.size(); ++index) {
    tasks_.spawn(send_connect(index, to_message("connect", connect)));
  }
}

net::Task<void> Formation::send_connect(size_t index, std::string message) {
  const auto deadline = net::Clock::now() + kWriteTimeout;
  const Result<void> sent = co_await ranks_[index].stream->write(std::move(message), deadline);
  if (!sent && sent.error().code != Code::kCancelled) lose(index, sent.error());
}

void Formation::lose(size_t index, const Error& error) {
  if (std::exchange(lost_, true)) return;
  events_.lost(
      {error.code, fmt::format("device {}: {}", options_.ranks[index].name, error.message)});
}

}  // namespace cohort::node
