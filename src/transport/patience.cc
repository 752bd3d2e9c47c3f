#include "transport/patience.h"

#include <thread>
#include <utility>

namespace cohort::transport {
namespace {

constexpr int kSpinsBetweenLooks = 32;  // at the clock
constexpr std::chrono::microseconds kBeforeYield{
    50};  // then others may have the core if they want it
constexpr std::chrono::microseconds kPreempted{300};  // between two looks: somebody had it
constexpr std::chrono::milliseconds kCrowdedFor{20};
constexpr std::chrono::milliseconds kBetweenPeerLooks{1};

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("isb");
#endif
}

}  // namespace

Patience::Advice Patience::next() {
  pause();
  if (++spins_ % kSpinsBetweenLooks != 0) return Advice::kSpin;
  return judge(Clock::now());
}

Patience::Advice Patience::judge(Clock::time_point now) {
  if (!std::exchange(waiting_, true)) {
    slept_ = false;
    began_ = looked_ = advised_look_ = now;
  }
  if (!slept_ && now - looked_ > kPreempted) crowded_until_ = now + kCrowdedFor;
  looked_ = now;
  // Once it has slept, a wait that is not over sleeps again after one round of spins.
  slept_ = now < crowded_until_ || now - began_ >= spin_time_;
  if (slept_) return Advice::kSleep;
  if (now - began_ > kBeforeYield) std::this_thread::yield();
  if (now - advised_look_ < kBetweenPeerLooks) return Advice::kSpin;
  advised_look_ = now;
  return Advice::kLook;
}

}  // namespace cohort::transport
