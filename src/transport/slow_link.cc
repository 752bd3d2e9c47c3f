#include "transport/slow_link.h"

#include <algorithm>
#include <array>
#include <atomic>

#include "base/check.h"

namespace cohort::transport {
namespace {

using Clock = std::chrono::steady_clock;

// When the messages of one direction arrive, by sequence. One sender, one receiver; the link itself orders a message after
// its entry.
class Timetable {
 public:
  explicit Timetable(const SlowPath& path) : path_(path) {}

  void depart(size_t size_bytes) {
    COHORT_CHECK(departed_ - arrived_.load() < kAhead);
    free_at_ = std::max(free_at_, Clock::now());
    if (path_.bytes_per_s > 0) {
      free_at_ += std::chrono::duration_cast<Clock::duration>(
          std::chrono::duration<double>(static_cast<double>(size_bytes) / path_.bytes_per_s));
    }
    arrivals_[departed_++ % kAhead].store((free_at_ + path_.one_way).time_since_epoch().count());
  }

  bool has_arrived() const {
    const auto now = Clock::now().time_since_epoch().count();
    return now >= arrivals_[arrived_.load(std::memory_order_relaxed) % kAhead].load();
  }
  void take() { arrived_.fetch_add(1); }

 private:
  static constexpr uint64_t kAhead = 1
                                     << 14;  // messages under way; a link's own buffers hold fewer

  const SlowPath path_;
  Clock::time_point free_at_;  // of the cable
  uint64_t departed_ = 0;
  std::atomic<uint64_t> arrived_{0};
  std::array<std::atomic<Clock::rep>, kAhead> arrivals_{};
};

class SlowLink final : public Link {
 public:
  SlowLink(std::unique_ptr<Link> link, std::shared_ptr<Timetable> out,
           std::shared_ptr<Timetable> in)
      : link_(std::move(link)), out_(std::move(out)), in_(std::move(in)) {}

  const std::string& peer() const override { return link_->peer(); }
  std::string_view transport() const override { return link_->transport(); }

  Result<bool> try_send(const OutMessage& message) override {
    if (!departing_) out_->depart(message.payload.size() + Header::kBytes);
    Result<bool> sent = link_->try_send(message);
    departing_ = sent && !*sent;
    return sent;
  }

  Result<std::optional<InMessage>> try_receive() override {
    if (!coming_) {
      COHORT_TRY(coming_, link_->try_receive());
    }
    if (!coming_ || !in_->has_arrived()) return std::nullopt;
    in_->take();
    return std::exchange(coming_, std::nullopt);
  }
  void release() override { link_->release(); }
  Result<void> check() override { return link_->check(); }

  // What is on its way will be here sooner than a sleeper could tell.
  std::optional<pollfd> arm(Interest interest) override {
    if (interest.receive && coming_) return std::nullopt;
    return link_->arm(interest);
  }
  void disarm() override { link_->disarm(); }
  void abort(std::string_view reason) override { link_->abort(reason); }

 private:
  std::unique_ptr<Link> link_;
  std::shared_ptr<Timetable> out_, in_;
  bool departing_ = false;           // a message that has its time, and no room yet
  std::optional<InMessage> coming_;  // in the link's memory, not arrived yet
};

}  // namespace

LinkPair slow_down(LinkPair ends, const SlowPath& path) {
  const auto there = std::make_shared<Timetable>(path), back = std::make_shared<Timetable>(path);
  return {std::make_unique<SlowLink>(std::move(ends.first), there, back),
          std::make_unique<SlowLink>(std::move(ends.second), back, there)};
}

}  // namespace cohort::transport
