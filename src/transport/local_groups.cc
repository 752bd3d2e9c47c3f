#include "transport/local_groups.h"

#include <future>

#include "transport/shm.h"
#include "transport/socket.h"
#include "transport/tcp.h"

namespace cohort::transport {
namespace {

using Pair = std::pair<std::unique_ptr<Link>, std::unique_ptr<Link>>;

std::string name_of(int rank) { return fmt::format("rank {}", rank); }

Result<Pair> connect_shm(int low, int high) {
  COHORT_TRY(auto sockets, unix_pair());
  COHORT_TRY(auto first,
             open_shm_link(std::move(sockets.first), {.creator = true, .name = name_of(high)}));
  COHORT_TRY(auto second,
             open_shm_link(std::move(sockets.second), {.creator = false, .name = name_of(low)}));
  return Pair(std::move(first), std::move(second));
}

// The handshake needs both ends at once, hence the second thread.
Result<Pair> connect_tcp_links(int low, int high, const std::optional<LinkKey>& secret) {
  COHORT_TRY(auto sockets, tcp_pair());
  auto opening = std::async(std::launch::async, [&] {
    return open_tcp_link(std::move(sockets.second),
                         {.rank = high, .peer_rank = low, .secret = secret}, name_of(low));
  });
  auto first = open_tcp_link(std::move(sockets.first),
                             {.rank = low, .peer_rank = high, .secret = secret}, name_of(high));
  auto second = opening.get();
  if (!first) return tl::unexpected(first.error());
  if (!second) return tl::unexpected(second.error());
  return Pair(std::move(*first), std::move(*second));
}

}  // namespace

Result<LinkTable> make_local_links(const LocalGroupOptions& options) {
  const auto size = static_cast<size_t>(options.size);
  LinkTable links(size);
  for (auto& row : links) row.resize(size);
  for (size_t low = 0; low < size; ++low) {
    for (size_t high = low + 1; high < size; ++high) {
      const int a = static_cast<int>(low), b = static_cast<int>(high);
      COHORT_TRY(Pair pair, options.type == LinkType::kShm
                                ? connect_shm(a, b)
                                : connect_tcp_links(a, b, options.secret));
      links[low][high] = std::move(pair.first);
      links[high][low] = std::move(pair.second);
    }
  }
  return links;
}

Result<std::vector<std::unique_ptr<Group>>> make_local_groups(const LocalGroupOptions& options) {
  COHORT_TRY(LinkTable links, make_local_links(options));
  std::vector<std::unique_ptr<Group>> groups;
  for (int rank = 0; rank < options.size; ++rank) {
    groups.push_back(make_group(rank, std::move(links[static_cast<size_t>(rank)]), options.group));
  }
  return groups;
}

}  // namespace cohort::transport
