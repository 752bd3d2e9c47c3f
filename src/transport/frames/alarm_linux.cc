#include <sys/epoll.h>
#include <sys/timerfd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "transport/frames/alarm.h"

namespace cohort::transport {

Result<Alarm> Alarm::make() {
  Alarm alarm;
  alarm.queue_ = UniqueFd(epoll_create1(EPOLL_CLOEXEC));
  alarm.timer_ = UniqueFd(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  if (!alarm.queue_ || !alarm.timer_)
    return fail(Code::kUnavailable, "no descriptor to sleep on: {}", strerror(errno));
  COHORT_TRY_VOID(alarm.watch(alarm.timer_.get()));
  return alarm;
}

Result<void> Alarm::watch(int fd) {
  epoll_event event{};
  event.events = EPOLLIN;
  if (epoll_ctl(queue_.get(), EPOLL_CTL_ADD, fd, &event) == 0) return {};
  return fail(Code::kUnavailable, "epoll: {}", strerror(errno));
}

void Alarm::forget(int fd) { epoll_ctl(queue_.get(), EPOLL_CTL_DEL, fd, nullptr); }

void Alarm::ring_in(std::chrono::microseconds time) {
  const auto count = std::max<int64_t>(time.count(), 1);
  const itimerspec once{
      .it_interval = {},
      .it_value = {.tv_sec = count / 1'000'000, .tv_nsec = count % 1'000'000 * 1000}};
  timerfd_settime(timer_.get(), 0, &once, nullptr);
}

void Alarm::silence() {
  const itimerspec never{};
  timerfd_settime(timer_.get(), 0, &never, nullptr);
}

}  // namespace cohort::transport
