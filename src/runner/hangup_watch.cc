#include "runner/hangup_watch.h"

#include <fcntl.h>
#include <poll.h>

#include <cerrno>

#include "base/check.h"

namespace cohort::runner {

HangupWatch::HangupWatch(int fd, std::chrono::milliseconds grace) {
  int ends[2];
  COHORT_CHECK(::pipe(ends) == 0);
  stopped_ = transport::UniqueFd(ends[0]);
  stop_ = transport::UniqueFd(ends[1]);
  for (const int end : ends) ::fcntl(end, F_SETFD, FD_CLOEXEC);
  thread_ = std::thread([this, fd, grace] { watch(fd, grace); });
}

HangupWatch::~HangupWatch() {
  stop_ = transport::UniqueFd();
  thread_.join();
}

void HangupWatch::watch(int fd, std::chrono::milliseconds grace) {
  // No events are asked for: a hang-up is told anyway, and what comes to be read is left to others.
  pollfd watched[] = {{.fd = stopped_.get(), .events = 0, .revents = 0},
                      {.fd = fd, .events = 0, .revents = 0}};
  while (::poll(watched, 2, -1) < 0 && errno == EINTR) {
  }
  if (watched[0].revents != 0) return;
  ::poll(watched, 1, static_cast<int>(grace.count()));
  hung_up_.store(true, std::memory_order_relaxed);
}

}  // namespace cohort::runner
