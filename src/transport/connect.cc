#include "transport/connect.h"

#include <sys/socket.h>

#include <algorithm>
#include <condition_variable>
#include <list>
#include <mutex>
#include <thread>

#include "base/check.h"
#include "base/log.h"
#include "transport/transports.h"

namespace cohort::transport {
namespace {

using Links = std::vector<std::unique_ptr<Link>>;

constexpr std::chrono::milliseconds kHelloLimit{3000};  // for who has connected to say who it is
constexpr std::chrono::hours kNoLimit{24};              // but the deadline of all
constexpr std::chrono::milliseconds kBetweenLooks{10};  // at whether all have come
constexpr size_t kMaxGuests = 64;                       // shaking hands at once

std::string name_of(const RankPeer& peer) {
  return peer.name.empty() ? fmt::format("rank {}", peer.rank)
                           : fmt::format("rank {} ({})", peer.rank, peer.name);
}

HandshakeOptions handshake_of(const ConnectOptions& options, int peer_rank, uint32_t offers,
                              std::chrono::milliseconds limit) {
  return {.rank = options.rank,
          .peer_rank = peer_rank,
          .instance = options.instance,
          .secret = options.secret,
          .offers = offers,
          .deadline = Deadline::after(options.deadline.left(limit))};
}

LinkWish wish_of(const ConnectOptions& options, const RankPeer& peer) {
  return {.transport = options.transport, .first = peer.first};
}

// Of who may turn out to be any of them.
uint32_t offers_to_any(std::span<const RankPeer> peers, const ConnectOptions& options) {
  uint32_t offers = 0;
  for (const RankPeer& peer : peers) offers |= offers_for(wish_of(options, peer));
  return offers;
}

// Takes the ranks below ours. Each guest shakes hands on a thread of its own, so that one who says nothing holds up
// nobody.
class Reception {
 public:
  Reception(std::span<const RankPeer> expected, const ConnectOptions& options)
      : expected_(expected),
        options_(options),
        offers_(offers_to_any(expected, options)),
        links_(expected.size()) {}
  ~Reception() { send_away(); }

  // The links of `expected`, in its order.
  Result<Links> take_all(const UniqueFd& listener) {
    while (!complete()) {
      if (auto failed = failure()) return tl::unexpected(std::move(*failed));
      if (options_.deadline.passed()) {
        return fail(Code::kTimeout, "{} did not connect in time", missing());
      }
      drop_finished();
      if (guests_.size() >= kMaxGuests) {
        std::this_thread::sleep_for(kBetweenLooks);
        continue;
      }
      Result<UniqueFd> socket = accept_tcp(listener, Deadline::after(kBetweenLooks));
      if (socket) {
        welcome(std::move(*socket));
      } else if (socket.error().code != Code::kTimeout) {
        return tl::unexpected(std::move(socket).error());
      }
    }
    send_away();
    return std::move(links_);
  }

 private:
  struct Guest {
    UniqueFd handle;    // to the same connection, to end it with
    bool done = false;  // guarded by mutex_
    std::thread thread;
  };

  void welcome(UniqueFd socket) {
    Guest& guest = guests_.emplace_back();
    guest.handle = UniqueFd(dup(socket.get()));
    guest.thread = std::thread([this, &guest, moved = std::move(socket)]() mutable {
      const HandshakeOptions handshake = handshake_of(options_, kAnyRank, offers_, kHelloLimit);
      auto met = meet(std::move(moved), handshake);
      if (met) return settle(guest, std::move(*met), handshake);
      log::warn("a stranger at the port of rank {} is turned away: {}", options_.rank,
                met.error().message);
      const std::lock_guard lock(mutex_);
      guest.done = true;
    });
  }

  Result<OpenedLink> meet(UniqueFd socket, const HandshakeOptions& handshake) const {
    COHORT_TRY(OpenedLink met, open_tcp_link_to_any(std::move(socket), handshake, [this](int rank) {
                 return name_of_rank(rank);
               }));
    if (std::ranges::find(expected_, met.peer_rank, &RankPeer::rank) != expected_.end()) return met;
    return fail(Code::kInvalidArgument, "rank {} does not dial this one", met.peer_rank);
  }

  // With one of ours, by its key. Who has become a link is a guest no more: send_away() would end its connection.
  void settle(Guest& guest, OpenedLink met, HandshakeOptions handshake) {
    handshake.deadline = options_.deadline;  // it is no stranger
    const auto index = static_cast<size_t>(
        std::ranges::find(expected_, met.peer_rank, &RankPeer::rank) - expected_.begin());
    const LinkWish wish = wish_of(options_, expected_[index]);
    auto link = settle_link(std::move(met), handshake, wish, /*dialled=*/false);
    const std::lock_guard lock(mutex_);
    guest.done = true;
    if (!link) {
      if (!failure_) failure_ = link.error();
    } else if (!links_[index]) {
      links_[index] = std::move(*link);
    }
  }

  std::string name_of_rank(int rank) const {
    const auto peer = std::ranges::find(expected_, rank, &RankPeer::rank);
    return peer == expected_.end() ? fmt::format("rank {}", rank) : name_of(*peer);
  }

  std::optional<Error> failure() {
    const std::lock_guard lock(mutex_);
    return failure_;
  }

  bool complete() {
    const std::lock_guard lock(mutex_);
    return std::ranges::all_of(links_, [](const auto& link) { return link != nullptr; });
  }

  std::string missing() {
    const std::lock_guard lock(mutex_);
    std::string names;
    for (size_t i = 0; i < links_.size(); ++i) {
      if (!links_[i]) names += (names.empty() ? "" : ", ") + name_of(expected_[i]);
    }
    return names;
  }

  void drop_finished() {
    std::erase_if(guests_, [this](Guest& guest) {
      {
        const std::lock_guard lock(mutex_);
        if (!guest.done) return false;
      }
      guest.thread.join();
      return true;
    });
  }

  void send_away() {
    for (Guest& guest : guests_) {
      {
        const std::lock_guard lock(mutex_);
        if (!guest.done) shutdown(guest.handle.get(), SHUT_RDWR);
      }
      guest.thread.join();
    }
    guests_.clear();
  }

  std::span<const RankPeer> expected_;
  const ConnectOptions& options_;
  const uint32_t offers_;
  std::mutex mutex_;
  Links links_;  // guarded by mutex_
  std::optional<Error>
      failure_;  // of a pair that cannot be linked as was wished; guarded by mutex_
  std::list<Guest> guests_;
};

Result<std::unique_ptr<Link>> dial(const RankPeer& peer, const ConnectOptions& options) {
  const std::string name = name_of(peer);
  auto socket = connect_tcp(peer.address, options.deadline);
  if (!socket) return fail_in(name, std::move(socket).error());
  const LinkWish wish = wish_of(options, peer);
  HandshakeOptions handshake = handshake_of(options, peer.rank, offers_for(wish), kNoLimit);
  auto met = open_tcp_link_to_any(std::move(*socket), handshake, [&name](int) { return name; });
  if (!met) return fail_in(name, std::move(met).error());
  return settle_link(std::move(*met), handshake, wish, /*dialled=*/true);
}

}  // namespace

Result<Links> connect_ranks(UniqueFd listener, std::span<const RankPeer> peers,
                            const ConnectOptions& options) {
  std::vector<RankPeer> sorted(peers.begin(), peers.end());
  std::ranges::sort(sorted, {}, &RankPeer::rank);
  const auto own = static_cast<size_t>(options.rank);
  COHORT_CHECK(own <= sorted.size());
  for (size_t i = 0; i < sorted.size(); ++i) {
    COHORT_CHECK(sorted[i].rank == static_cast<int>(i < own ? i : i + 1));
  }
  Links links(sorted.size() + 1);
  // The highest first: the last rank dials nobody and takes at once, then the one before it, and so on.
  for (size_t r = sorted.size(); r > own; --r) {
    COHORT_TRY(links[r], dial(sorted[r - 1], options));
  }
  Reception reception({sorted.data(), own}, options);
  COHORT_TRY(Links below, reception.take_all(listener));
  std::ranges::move(below, links.begin());
  return links;
}

}  // namespace cohort::transport
