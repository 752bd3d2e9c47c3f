#include "mesh/probe_burst.h"

#include <poll.h>

#include <algorithm>
#include <chrono>
#include <vector>

namespace cohort::mesh {
namespace {

using net::Clock;
using net::TimePoint;
using std::chrono::milliseconds;

constexpr milliseconds kStartTime{40};  // windows grow, shapers spend what they saved
constexpr milliseconds kLongestStart{500};
constexpr int kStartRoundTrips = 12;
constexpr size_t kStartBytes = 512 << 10;
constexpr milliseconds kSteadyTime{100};  // what counts, then
constexpr double kFastBytesPerS = 250e6;
constexpr int kFastWindows = 3;
constexpr size_t kFastBytes =
    16 << 20;  // a slow path's burst ends before; its queue must stay short
constexpr size_t kBlockBytes = 64 << 10;  // a block's first byte is 1 in the last one
constexpr size_t kReceiveBytes = 256 << 10;

double seconds(Clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

// The rate of a burst after its start. A fast one is seen several times and the best counts: it keeps whole processors
// busy, and something else may want them. (A slow one would show what the shaper saved.)
class BurstClock {
 public:
  explicit BurstClock(double round_trip_s)
      : start_s_(std::clamp(round_trip_s * kStartRoundTrips, seconds(kStartTime),
                            seconds(kLongestStart))) {}

  void on_bytes(size_t size, TimePoint now) {
    if (total_ == 0) window_begin_ = now;
    total_ += size;
    const double passed = seconds(now - window_begin_);
    const size_t window_bytes = total_ - window_total_;
    if (!started_) {
      const bool short_start = passed < start_s_ || window_bytes < kStartBytes;
      if (short_start && passed < seconds(kLongestStart)) return;
      started_ = true;
    } else {
      if (passed < seconds(kSteadyTime)) return;
      best_ = std::max(best_, static_cast<double>(window_bytes) / passed);
      ++windows_;
    }
    window_begin_ = now;
    window_total_ = total_;
  }

  bool enough() const {
    return windows_ == kFastWindows || (windows_ > 0 && best_ < kFastBytesPerS);
  }
  double bytes_per_s() const { return best_; }

 private:
  const double start_s_;
  TimePoint window_begin_;
  size_t total_ = 0, window_total_ = 0;
  bool started_ = false;
  int windows_ = 0;
  double best_ = 0;
};

}  // namespace

// Sends until the receiver says it has seen enough, then a last block.
Result<void> send_burst(ProbeSocket& socket) {
  std::vector<char> block(kBlockBytes, 0);
  size_t at = 0;  // in the block
  size_t total = 0;
  bool enough = false;
  for (;;) {
    char word;
    if (!enough) {
      COHORT_TRY(const size_t got, socket.receive_some(&word, 1));
      enough = got == 1;
    }
    if (at == 0 && enough) block[0] = 1;
    COHORT_TRY(const size_t sent, socket.send_some(block.data() + at, block.size() - at));
    if (sent == 0) socket.wait_for(enough ? POLLOUT : POLLOUT | POLLIN);
    if (total < kFastBytes && total + sent >= kFastBytes) socket.expect_speed();
    total += sent;
    at = (at + sent) % kBlockBytes;
    if (sent > 0 && at == 0 && block[0] == 1) return socket.receive(&word, 1);
  }
}

Result<double> receive_burst(ProbeSocket& socket, double round_trip_s) {
  std::vector<char> bytes(kReceiveBytes);
  BurstClock clock(round_trip_s);
  size_t offset = 0;  // in the burst
  bool said_enough = false;
  for (bool ended = false; !ended;) {
    COHORT_TRY(const size_t got, socket.receive_some(bytes.data(), bytes.size()));
    if (got == 0) {
      socket.wait_for(POLLIN);
      continue;
    }
    if (!said_enough) clock.on_bytes(got, Clock::now());
    if (!said_enough && clock.enough()) {
      said_enough = true;
      COHORT_TRY_VOID(socket.send("e", 1));
    }
    for (size_t at = (kBlockBytes - offset % kBlockBytes) % kBlockBytes; at < got;
         at += kBlockBytes) {
      if (bytes[at] != 1) continue;
      if (got - at > kBlockBytes)
        return fail(Code::kInvalidArgument, "bytes behind a probe's burst");
      std::vector<char> rest(kBlockBytes - (got - at));
      COHORT_TRY_VOID(socket.receive(rest.data(), rest.size()));
      COHORT_TRY_VOID(socket.send("d", 1));
      ended = true;
    }
    offset += got;
  }
  if (!clock.enough()) return fail(Code::kInvalidArgument, "the probe's burst was too short");
  return clock.bytes_per_s();
}

}  // namespace cohort::mesh
