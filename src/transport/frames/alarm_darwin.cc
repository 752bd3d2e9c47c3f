#include <sys/event.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "transport/frames/alarm.h"

namespace cohort::transport {
namespace {

constexpr uintptr_t kTimer = 1;  // of the queue's own

int change(int queue, uintptr_t what, int16_t filter, uint16_t flags, uint32_t unit = 0,
           int64_t value = 0) {
  struct kevent event;
  EV_SET(&event, what, filter, flags, unit, value, nullptr);
  return kevent(queue, &event, 1, nullptr, 0, nullptr);
}

}  // namespace

Result<Alarm> Alarm::make() {
  Alarm alarm;
  alarm.queue_ = UniqueFd(kqueue());
  if (!alarm.queue_) return fail(Code::kUnavailable, "kqueue: {}", strerror(errno));
  return alarm;
}

Result<void> Alarm::watch(int fd) {
  if (change(queue_.get(), static_cast<uintptr_t>(fd), EVFILT_READ, EV_ADD) == 0) return {};
  return fail(Code::kUnavailable, "kqueue: {}", strerror(errno));
}

void Alarm::forget(int fd) {
  change(queue_.get(), static_cast<uintptr_t>(fd), EVFILT_READ, EV_DELETE);
}

void Alarm::ring_in(std::chrono::microseconds time) {
  silence();
  change(queue_.get(), kTimer, EVFILT_TIMER, EV_ADD | EV_ONESHOT, NOTE_USECONDS,
         std::max<int64_t>(time.count(), 1));
}

void Alarm::silence() { change(queue_.get(), kTimer, EVFILT_TIMER, EV_DELETE); }

}  // namespace cohort::transport
