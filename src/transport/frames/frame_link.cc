#include "transport/frames/frame_link.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>

#include "base/check.h"

namespace cohort::transport {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kOwnerAway{10};         // since its last call: the caretaker takes over
constexpr int kMostArmings = 8;                // until nothing happens meanwhile
constexpr milliseconds kIdle{100};             // between the caretaker's looks when nothing is due
constexpr milliseconds kLongestFarewell{300};  // for what was sent last to arrive
constexpr std::chrono::microseconds kBetweenLooks{500};  // asleep, where a device has no events

std::vector<FramePort*> borrowed(const std::vector<std::unique_ptr<FramePort>>& rails) {
  std::vector<FramePort*> borrows;
  borrows.reserve(rails.size());
  for (const auto& rail : rails) borrows.push_back(rail.get());
  return borrows;
}

// Nothing goes over the control link but the kernel's own probes, a second apart: some lost in a row are no death.
void tolerate_lost_probes(int fd) {
  constexpr int kProbes = 5;
  (void)setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &kProbes, sizeof(kProbes));
}

}  // namespace

FrameLink::FrameLink(Parts parts)
    : control_(std::move(parts.control)),
      transport_(parts.transport),
      rails_(borrowed(parts.rails)),
      alarm_(std::move(parts.alarm)),
      courier_(std::move(parts.memory), std::move(parts.rails),
               {.session = parts.session, .peer = control_->peer(), .now = Clock::now()}) {
  if (const std::optional<pollfd> control = control_->arm({.receive = true})) {
    control_fd_ = control->fd;
    if (control_fd_ >= 0) {
      tolerate_lost_probes(control_fd_);
      (void)alarm_.watch(control_fd_);
    }
  }
  control_->disarm();
  for (const FramePort* rail : rails_) {
    if (rail->event_fd() >= 0) (void)alarm_.watch(rail->event_fd());
  }
  if (!rails_.front()->works_alone()) caretaker_ = std::thread([this] { take_care(); });
}

FrameLink::~FrameLink() {
  deliver_rest();
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  closing_changed_.notify_all();
  if (caretaker_.joinable()) caretaker_.join();
  control_.reset();  // says that we leave, before the rails end
}

// The queue pairs end with this link: what is under way is to arrive before the control link says that we leave.
void FrameLink::deliver_rest() {
  const auto end = Clock::now() + kLongestFarewell;
  while (Clock::now() < end) {
    {
      const std::lock_guard lock(mutex_);
      if (failure_ || left_ || courier_.is_delivered()) break;
      if (!courier_.work(Clock::now())) break;
    }
    if (!check()) return;
    ::poll(nullptr, 0, 1);
  }
  const std::lock_guard lock(mutex_);
  if (!failure_) (void)courier_.tell(Clock::now());
}

tl::unexpected<Error> FrameLink::broken(Error error) {
  const bool named = error.message.starts_with(peer());
  if (!failure_) {
    failure_ =
        Error{error.code, named ? error.message : fmt::format("{}: {}", peer(), error.message)};
  }
  return tl::unexpected(*failure_);
}

// A port may notice first that the peer closes its end; whether it left, gave up or died, the control link says.
tl::unexpected<Error> FrameLink::ended(Error error) {
  if (const Result<void> control = check_control(); !control) return broken(control.error());
  return broken(left_ ? *left_ : std::move(error));
}

Result<bool> FrameLink::try_send(const OutMessage& message) {
  const std::lock_guard lock(mutex_);
  if (failure_) return tl::unexpected(*failure_);
  ++calls_;
  Result<bool> sent = courier_.try_send(message, Clock::now());
  return sent ? sent : ended(std::move(sent).error());
}

Result<std::optional<InMessage>> FrameLink::try_receive() {
  const std::lock_guard lock(mutex_);
  if (failure_) return tl::unexpected(*failure_);
  ++calls_;
  auto message = courier_.try_receive(Clock::now());
  if (!message) return ended(std::move(message).error());
  if (!*message && left_) return broken(*left_);
  return message;
}

void FrameLink::release() {
  const std::lock_guard lock(mutex_);
  if (failure_) return;
  if (auto released = courier_.release(Clock::now()); !released)
    (void)ended(std::move(released).error());
}

// The control link carries nothing while both live; its end in good order is remembered, any other is an error.
Result<void> FrameLink::check_control() {
  if (left_) return {};
  COHORT_TRY_VOID(control_->check());
  auto message = control_->try_receive();
  if (message && *message)
    return fail(Code::kDataLoss, "{}: speaks on the control link of an RDMA link", peer());
  if (message) return {};
  left_ = message.error();
  if (control_fd_ >= 0) alarm_.forget(control_fd_);
  return {};
}

Result<void> FrameLink::check() {
  const std::lock_guard lock(mutex_);
  if (failure_) return tl::unexpected(*failure_);
  ++calls_;
  Result<void> alive = check_control();
  for (FramePort* rail : rails_) {
    if (alive) alive = rail->check();
  }
  if (alive) alive = courier_.work(Clock::now());
  if (alive) return alive;
  // After a farewell the rails may fail as well: what has come over them still counts.
  if (!left_) (void)check_control();
  return left_ ? Result<void>() : broken(std::move(alive).error());
}

std::optional<pollfd> FrameLink::arm(Interest interest) {
  const std::lock_guard lock(mutex_);
  if (failure_) return std::nullopt;
  const auto now = Clock::now();
  for (int tries = 0; tries < kMostArmings; ++tries) {
    if (!courier_.work(now) || (!is_reliable() && !courier_.tell(now))) return std::nullopt;
    if ((interest.receive && courier_.has_message()) || (interest.send && courier_.has_room()))
      return std::nullopt;
    if (std::ranges::all_of(rails_, &FramePort::arm_events)) return sleeper(interest, now);
  }
  return std::nullopt;
}

pollfd FrameLink::sleeper(Interest interest, Courier::Time now) {
  std::optional<Courier::Time> alarm = courier_.alarm();
  const bool has_events = rails_.front()->event_fd() >= 0;
  if (!has_events && (interest.receive || interest.send)) alarm = now + kBetweenLooks;
  if (alarm)
    alarm_.ring_in(
        std::chrono::duration_cast<std::chrono::microseconds>(std::max(*alarm, now) - now));
  return pollfd{.fd = alarm_.fd(), .events = POLLIN, .revents = 0};
}

void FrameLink::disarm() {
  const std::lock_guard lock(mutex_);
  alarm_.silence();
  for (FramePort* rail : rails_) rail->drain_events();
}

void FrameLink::abort(std::string_view reason) {
  const std::lock_guard lock(mutex_);
  control_->abort(reason);
  if (!failure_)
    failure_ = Error{Code::kUnavailable, fmt::format("{}: this side gave up: {}", peer(), reason)};
}

void FrameLink::take_care() {
  std::unique_lock lock(mutex_);
  uint64_t seen = 0;
  while (!closing_) {
    const bool quiet = courier_.is_delivered() && !courier_.alarm();
    closing_changed_.wait_for(lock, quiet ? kIdle : kOwnerAway);
    const bool away = std::exchange(seen, calls_) == calls_;
    if (closing_ || failure_ || !away) continue;
    if (auto worked = courier_.work(Clock::now()); !worked && !left_)
      (void)broken(std::move(worked).error());
  }
}

}  // namespace cohort::transport
