#include <fcntl.h>
#include <sched.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <sstream>
#include <string>
#include <thread>

#include "hosts.h"

namespace cohort::transport {
namespace {

// A socket belongs to the namespace its maker was in. Only a thread of its own moves there.
Result<UniqueFd> made_in(const std::string& host, const std::function<Result<UniqueFd>()>& make) {
  Result<UniqueFd> made = fail(Code::kInternal, "not made");
  std::thread([&] {
    const UniqueFd there(open(("/var/run/netns/" + host).c_str(), O_RDONLY | O_CLOEXEC));
    if (!there || setns(there.get(), CLONE_NEWNET) != 0) {
      made = fail(Code::kUnavailable, "no network namespace {}: {}", host, strerror(errno));
    } else {
      made = make();
    }
  }).join();
  return made;
}

}  // namespace

void pin_to_core(int rank) {
  static const cpu_set_t allowed = [] {
    cpu_set_t set;
    CPU_ZERO(&set);
    sched_getaffinity(0, sizeof(set), &set);
    return set;
  }();
  if (CPU_COUNT(&allowed) < 2) return;
  cpu_set_t one;
  CPU_ZERO(&one);
  for (int core = 0, seen = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(core, &allowed) && seen++ == rank) CPU_SET(core, &one);
  }
  sched_setaffinity(0, sizeof(one), &one);
}

Result<std::pair<UniqueFd, UniqueFd>> connected_hosts() {
  const char* named = std::getenv("COHORT_BENCH_HOSTS");
  if (named == nullptr) return tcp_pair();
  std::istringstream in(named);
  std::string here, there, address;
  std::getline(in, here, ',');
  std::getline(in, there, ',');
  std::getline(in, address);
  COHORT_TRY(const UniqueFd listener, made_in(here, [] { return listen_anywhere(); }));
  COHORT_TRY(const SocketAddress listening, local_address(listener));
  const Deadline soon = Deadline::after(std::chrono::seconds(5));
  COHORT_TRY(UniqueFd second, made_in(there, [&] {
               return connect_tcp({address, listening.port}, soon);
             }));
  COHORT_TRY(UniqueFd first, accept_tcp(listener, soon));
  return std::pair(std::move(first), std::move(second));
}

}  // namespace cohort::transport
