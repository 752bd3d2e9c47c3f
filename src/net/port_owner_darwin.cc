#include <arpa/inet.h>
#include <libproc.h>
#include <sys/proc_info.h>

#include <vector>

#include <fmt/format.h>

#include "net/port_owner.h"

namespace cohort::net {
namespace {

std::vector<pid_t> all_processes() {
  const int wanted = ::proc_listpids(PROC_ALL_PIDS, 0, nullptr, 0);  // in bytes
  std::vector<pid_t> pids(wanted > 0 ? static_cast<size_t>(wanted) / sizeof(pid_t) : 0);
  const int got =
      ::proc_listpids(PROC_ALL_PIDS, 0, pids.data(), static_cast<int>(pids.size() * sizeof(pid_t)));
  pids.resize(got > 0 ? static_cast<size_t>(got) / sizeof(pid_t) : 0);
  return pids;
}

// Nothing of processes of other users, unless we are root.
std::vector<proc_fdinfo> descriptors_of(pid_t pid) {
  const int wanted = ::proc_pidinfo(pid, PROC_PIDLISTFDS, 0, nullptr, 0);
  std::vector<proc_fdinfo> all(wanted > 0 ? static_cast<size_t>(wanted) / sizeof(proc_fdinfo) : 0);
  const int got = ::proc_pidinfo(pid, PROC_PIDLISTFDS, 0, all.data(),
                                 static_cast<int>(all.size() * sizeof(proc_fdinfo)));
  all.resize(got > 0 ? static_cast<size_t>(got) / sizeof(proc_fdinfo) : 0);
  return all;
}

bool listens(pid_t pid, const proc_fdinfo& descriptor, uint16_t port) {
  if (descriptor.proc_fdtype != PROX_FDTYPE_SOCKET) return false;
  socket_fdinfo socket{};
  const int size =
      ::proc_pidfdinfo(pid, descriptor.proc_fd, PROC_PIDFDSOCKETINFO, &socket, sizeof(socket));
  if (size < static_cast<int>(sizeof(socket)) || socket.psi.soi_kind != SOCKINFO_TCP) return false;
  const tcp_sockinfo& tcp = socket.psi.soi_proto.pri_tcp;
  return tcp.tcpsi_state == TSI_S_LISTEN &&
         ntohs(static_cast<uint16_t>(tcp.tcpsi_ini.insi_lport)) == port;
}

}  // namespace

std::string port_owner(uint16_t port) {
  for (const pid_t pid : all_processes()) {
    for (const proc_fdinfo& descriptor : descriptors_of(pid)) {
      if (!listens(pid, descriptor, port)) continue;
      char name[2 * MAXCOMLEN + 1] = "";
      ::proc_name(pid, name, sizeof(name));
      return fmt::format("pid {} ({})", pid, name);
    }
  }
  return "";
}

}  // namespace cohort::net
