#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <string_view>

#include "base/tcp_congestion.h"

namespace cohort {
namespace {

bool choose(int socket, std::string_view name) {
  return setsockopt(socket, IPPROTO_TCP, TCP_CONGESTION, name.data(),
                    static_cast<socklen_t>(name.size())) == 0;
}

}  // namespace

void avoid_paced_sending(int socket) {
  char name[16] = {};
  socklen_t size = sizeof(name) - 1;
  if (getsockopt(socket, IPPROTO_TCP, TCP_CONGESTION, name, &size) != 0) return;
  if (!std::string_view(name).starts_with("bbr")) return;
  if (!choose(socket, "cubic")) (void)choose(socket, "reno");
}

}  // namespace cohort
