#include "runner/membership.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "base/bytes.h"
#include "base/log.h"
#include "transport/connect.h"
#include "transport/transports.h"

namespace cohort::runner {
namespace {

constexpr double kMaxConnectSeconds = 600;

Result<std::optional<transport::LinkKey>> parse_key(const std::string& hex) {
  if (hex.empty()) return std::optional<transport::LinkKey>();
  transport::LinkKey key{};
  if (hex.size() != 2 * key.size()) {
    return fail(Code::kInvalidArgument, "the links' key has {} digits, not {}", hex.size(),
                2 * key.size());
  }
  const std::optional<std::string> bytes = from_hex(hex);
  if (!bytes) return fail(Code::kInvalidArgument, "the links' key is not hexadecimal");
  std::memcpy(key.data(), bytes->data(), key.size());
  return std::optional(key);
}

Result<ConnectCommand> read_connect(FrameSocket& socket) {
  COHORT_TRY(const std::optional<Frame> frame, socket.read());
  if (!frame || frame->type == FrameType::kShutdown)
    return fail(Code::kCancelled, "the daemon closed before it said who the other ranks are");
  if (frame->type != FrameType::kConnect) {
    return fail(Code::kDataLoss, "a frame of type {} came; a connect command is expected",
                static_cast<int>(frame->type));
  }
  return from_json<ConnectCommand>(frame->body);
}

// What the two of us are to try first; "": nothing in particular.
std::string first_choice(const RankWish& wish, int32_t peer) {
  for (const PairLayout& pair : wish.pairs) {
    if (std::minmax(pair.first, pair.second) == std::minmax(wish.rank, peer)) return pair.transport;
  }
  return "";
}

// All ranks but our own, each once.
Result<std::vector<transport::RankPeer>> peers_of(const ConnectCommand& connect,
                                                  const RankWish& wish) {
  const int32_t count = wish.count, own = wish.rank;
  std::vector<bool> seen(static_cast<size_t>(count));
  seen[static_cast<size_t>(own)] = true;
  std::vector<transport::RankPeer> peers;
  for (const RankAddress& address : connect.ranks) {
    const bool known = address.rank >= 0 && address.rank < count;
    if (!known || seen[static_cast<size_t>(address.rank)]) {
      return fail(Code::kInvalidArgument, "rank {} is no other of {} ranks, or listed twice",
                  address.rank, count);
    }
    seen[static_cast<size_t>(address.rank)] = true;
    std::string first = first_choice(wish, address.rank);
    if (!first.empty()) COHORT_TRY_VOID(transport::check_transport(first));
    peers.push_back({address.rank, {address.host, address.port}, address.name, std::move(first)});
  }
  if (static_cast<int32_t>(peers.size()) == count - 1) return peers;
  return fail(Code::kInvalidArgument, "{} other ranks are listed, not {}", peers.size(), count - 1);
}

transport::Deadline deadline_of(const ConnectCommand& connect) {
  const double seconds = std::isfinite(connect.timeout_seconds) ? connect.timeout_seconds : 0;
  return transport::Deadline::after(std::chrono::milliseconds(
      static_cast<int64_t>(std::clamp(seconds, 0.0, kMaxConnectSeconds) * 1e3)));
}

std::vector<RankLink> describe(const std::vector<std::unique_ptr<transport::Link>>& links) {
  std::vector<RankLink> described;
  for (size_t rank = 0; rank < links.size(); ++rank) {
    if (!links[rank]) continue;
    described.push_back({static_cast<int32_t>(rank), std::string(links[rank]->transport())});
    log::info("{}: linked by {}", links[rank]->peer(), links[rank]->transport());
  }
  return described;
}

}  // namespace

Membership alone() {
  std::vector<std::unique_ptr<transport::Link>> nobody(1);
  return {.placement = {}, .group = transport::make_group(0, std::move(nobody))};
}

Result<std::vector<std::unique_ptr<transport::Link>>> link_ranks(FrameSocket& socket,
                                                                 const RankWish& wish) {
  COHORT_TRY_VOID(transport::check_transport(wish.transport));
  COHORT_TRY(transport::UniqueFd listener, transport::listen_anywhere());
  COHORT_TRY(const transport::SocketAddress address, transport::local_address(listener));
  COHORT_TRY_VOID(socket.send(FrameType::kListening, Listening{.port = address.port}));

  COHORT_TRY(const ConnectCommand connect, read_connect(socket));
  COHORT_TRY(const auto key, parse_key(connect.key));
  COHORT_TRY(const auto peers, peers_of(connect, wish));
  return transport::connect_ranks(std::move(listener), peers,
                                  {.rank = wish.rank,
                                   .instance = connect.instance,
                                   .secret = key,
                                   .transport = wish.transport,
                                   .deadline = deadline_of(connect)});
}

Result<Membership> join_group(FrameSocket& socket, const LoadCommand& command,
                              const HangupWatch& watch) {
  const GroupLayout& layout = *command.group;
  COHORT_TRY(const Placement placement, place_rank(layout, command.rank));
  COHORT_TRY(auto links, link_ranks(socket, {.rank = command.rank,
                                             .count = rank_count(layout),
                                             .transport = layout.transport,
                                             .pairs = layout.pairs}));
  const transport::GroupOptions options{.wire = placement.wire, .cancel = &watch.flag()};
  std::vector<RankLink> described = describe(links);
  return Membership{placement, transport::make_group(command.rank, std::move(links), options),
                    std::move(described)};
}

}  // namespace cohort::runner
