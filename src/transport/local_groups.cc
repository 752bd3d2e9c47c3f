#include "transport/local_groups.h"

#include <algorithm>
#include <future>

#include "transport/shm.h"
#include "transport/socket.h"
#include "transport/tcp.h"
#include "transport/transports.h"

namespace cohort::transport {
namespace {

std::string name_of(int rank) { return fmt::format("rank {}", rank); }

Result<LinkPair> connect_shm(int low, int high) {
  COHORT_TRY(auto sockets, unix_pair());
  COHORT_TRY(auto first,
             open_shm_link(std::move(sockets.first), {.creator = true, .name = name_of(high)}));
  COHORT_TRY(auto second,
             open_shm_link(std::move(sockets.second), {.creator = false, .name = name_of(low)}));
  return LinkPair(std::move(first), std::move(second));
}

struct Named {
  LinkType type;
  const char* name;
  std::string_view transport;
};
constexpr Named kTypes[] = {{LinkType::kTcp, "Tcp", "tcp"},
                            {LinkType::kShm, "Shm", "shm"},
                            {LinkType::kVerbs, "Verbs", "verbs"},
                            {LinkType::kVerbsUc, "VerbsUc", "verbs-uc"},
                            {LinkType::kVerbsMac, "VerbsMac", "verbs-mac"},
                            {LinkType::kUcx, "Ucx", "ucx"}};

const Named& named(LinkType type) { return *std::ranges::find(kTypes, type, &Named::type); }

Result<std::unique_ptr<Link>> open_end(UniqueFd socket, HandshakeOptions handshake,
                                       std::string_view transport) {
  handshake.offers = offers_for({.transport = transport});
  const int peer = handshake.peer_rank;
  COHORT_TRY(OpenedLink met, open_tcp_link_to_any(std::move(socket), handshake,
                                                  [peer](int) { return name_of(peer); }));
  return settle_link(std::move(met), handshake, {.transport = transport}, handshake.rank < peer);
}

// A handshake needs both ends at once, hence the second thread.
Result<LinkPair> connect_by(std::string_view transport, int low, int high,
                            const std::optional<LinkKey>& secret) {
  COHORT_TRY(auto sockets, tcp_pair());
  auto opening = std::async(std::launch::async, [&] {
    return open_end(std::move(sockets.second), {.rank = high, .peer_rank = low, .secret = secret},
                    transport);
  });
  auto first = open_end(std::move(sockets.first),
                        {.rank = low, .peer_rank = high, .secret = secret}, transport);
  auto second = opening.get();
  if (!first) return tl::unexpected(first.error());
  if (!second) return tl::unexpected(second.error());
  return LinkPair(std::move(*first), std::move(*second));
}

}  // namespace

const char* type_name(LinkType type) { return named(type).name; }

LinkType link_type_of(std::string_view transport) {
  const Named* found = std::ranges::find(kTypes, transport, &Named::transport);
  return found == std::end(kTypes) ? LinkType::kTcp : found->type;
}

std::vector<LinkType> link_types_here() {
  std::vector<LinkType> types;
  for (const Named& known : kTypes) {
    if (known.type == LinkType::kUcx) continue;
    if (known.transport == kTcp || offers_for({.transport = known.transport}) != 0)
      types.push_back(known.type);
  }
  return types;
}

Result<LinkTable> make_local_links(const LocalGroupOptions& options) {
  const auto size = static_cast<size_t>(options.size);
  LinkTable links(size);
  for (auto& row : links) row.resize(size);
  for (size_t low = 0; low < size; ++low) {
    for (size_t high = low + 1; high < size; ++high) {
      const int a = static_cast<int>(low), b = static_cast<int>(high);
      COHORT_TRY(LinkPair pair,
                 options.type == LinkType::kShm
                     ? connect_shm(a, b)
                     : connect_by(named(options.type).transport, a, b, options.secret));
      if (options.path) pair = slow_down(std::move(pair), *options.path);
      links[low][high] = std::move(pair.first);
      links[high][low] = std::move(pair.second);
    }
  }
  return links;
}

Result<std::vector<std::unique_ptr<Group>>> make_local_groups(const LocalGroupOptions& options) {
  COHORT_TRY(LinkTable links, make_local_links(options));
  std::vector<std::unique_ptr<Group>> groups;
  groups.reserve(links.size());
  for (int rank = 0; rank < options.size; ++rank) {
    groups.push_back(make_group(rank, std::move(links[static_cast<size_t>(rank)]), options.group));
  }
  return groups;
}

}  // namespace cohort::transport
