#include "mesh/link_stream.h"

#include <algorithm>
#include <utility>

#include "base/bytes.h"
#include "base/check.h"

namespace cohort::mesh {

LinkStream::LinkStream(net::Executor executor, StreamCarrier& carrier, Origin origin)
    : carrier_(&carrier), origin_(std::move(origin)), readable_(executor), written_(executor) {}

LinkStream::~LinkStream() { leave(FrameType::kStreamReset, "dropped by the other side"); }

void LinkStream::leave(FrameType goodbye, std::string_view why) {
  StreamCarrier* carrier = std::exchange(carrier_, nullptr);
  if (carrier == nullptr) return;
  carrier->send_frame({.type = goodbye, .stream = origin_.id, .payload = why});
  carrier->forget(origin_.id);
}

void LinkStream::close() {
  if (sending()) {  // half a message is no good order
    leave(FrameType::kStreamReset, "closed in the middle of a message");
  } else {
    leave(FrameType::kStreamClose, "");
  }
  if (why_.empty()) why_ = "closed";
  readable_.notify_all();
  written_.notify_all();
}

void LinkStream::end(std::string why) {
  if (carrier_ != nullptr) carrier_->forget(origin_.id);
  carrier_ = nullptr;
  if (why_.empty()) why_ = std::move(why);
  readable_.notify_all();
  written_.notify_all();
}

Result<void> LinkStream::writable() const {
  if (carrier_ == nullptr)
    return fail(Code::kUnavailable, "stream '{}' of device {}: {}", purpose(), peer(), why_);
  if (peer_closed_)
    return fail(Code::kUnavailable, "stream '{}' of device {}: closed there", purpose(), peer());
  return {};
}

net::Task<Result<void>> LinkStream::wait_for_turn(net::TimePoint deadline) {
  const net::Wake wake = co_await written_.wait(deadline);
  if (wake == net::Wake::kTimeout)
    co_return fail(Code::kTimeout, "device {} does not read stream '{}'", peer(), purpose());
  if (wake == net::Wake::kCancelled) co_return fail(Code::kCancelled, "cancelled");
  co_return Result<void>();
}

void LinkStream::abandon_write() {
  outgoing_ = nullptr;
  if (sent_ > 0) {
    if (why_.empty()) why_ = "a message was cut short";
    leave(FrameType::kStreamReset, "a message was cut short");
  }
  written_.notify_all();
}

net::Task<Result<void>> LinkStream::write(std::string message, net::TimePoint deadline) {
  if (message.size() > kMaxMessageBytes) {
    co_return fail(Code::kTooLarge, "a message of {} bytes is over the limit of {}", message.size(),
                   kMaxMessageBytes);
  }
  while (sending() && writable()) {
    COHORT_CO_TRY_VOID(co_await wait_for_turn(deadline));
  }
  COHORT_CO_TRY_VOID(writable());
  outgoing_ = &message;
  sent_ = 0;
  carrier_->has_data(origin_.id);
  while (outgoing_ == &message) {
    const auto woken = co_await wait_for_turn(deadline);
    if (outgoing_ != &message) break;
    Result<void> fine = woken ? writable() : woken;
    if (fine) continue;
    abandon_write();
    co_return fine;
  }
  co_return Result<void>();
}

bool LinkStream::take_fragment(std::string& batch) {
  if (!sending() || carrier_ == nullptr || peer_closed_) return false;
  const size_t left = outgoing_->size() - sent_;
  if (send_window_ < kFrameHeaderBytes + std::min<size_t>(left, 1)) return false;
  const size_t size = std::min({left, kFragmentBytes, send_window_ - kFrameHeaderBytes});
  const bool last = size == left;
  append_frame(batch, {.type = FrameType::kStreamData,
                       .flags = last ? kLast : uint8_t{0},
                       .stream = origin_.id,
                       .payload = std::string_view(*outgoing_).substr(sent_, size)});
  send_window_ -= kFrameHeaderBytes + size;
  sent_ += size;
  if (last) {
    outgoing_ = nullptr;
    written_.notify_all();
  }
  return true;
}

void LinkStream::give_back(size_t& cost) {
  owed_ += std::exchange(cost, 0);
  if (owed_ < kWindowBytes / 4 || carrier_ == nullptr || peer_closed_) return;
  char bytes[sizeof(uint32_t)];
  store(bytes, static_cast<uint32_t>(owed_));
  carrier_->send_frame({.type = FrameType::kStreamCredit,
                        .stream = origin_.id,
                        .payload = std::string_view(bytes, sizeof bytes)});
  receive_window_ += std::exchange(owed_, 0);
}

net::Task<Result<std::optional<std::string>>> LinkStream::read(net::TimePoint deadline) {
  using Read = Result<std::optional<std::string>>;
  COHORT_CHECK(!reading_);
  while (incoming_.empty()) {
    if (!why_.empty())
      co_return fail(Code::kUnavailable, "stream '{}' of device {}: {}", purpose(), peer(), why_);
    if (peer_closed_) co_return Read(std::nullopt);
    give_back(partial_.cost);
    reading_ = true;
    const net::Wake wake = co_await readable_.wait(deadline);
    reading_ = false;
    if (wake == net::Wake::kCancelled) co_return fail(Code::kCancelled, "cancelled");
    if (wake == net::Wake::kTimeout && incoming_.empty())
      co_return fail(Code::kTimeout, "nothing came from device {} on stream '{}'", peer(),
                     purpose());
  }
  Message message = std::move(incoming_.front());
  incoming_.pop_front();
  give_back(message.cost);
  co_return Read(std::move(message.bytes));
}

Result<void> LinkStream::on_data(std::string_view fragment, bool last) {
  const size_t cost = kFrameHeaderBytes + fragment.size();
  if (cost > receive_window_)
    return fail(Code::kInvalidArgument, "more data on a stream than its window allows");
  if (partial_.bytes.size() + fragment.size() > kMaxMessageBytes)
    return fail(Code::kInvalidArgument, "a message on a stream over {} bytes", kMaxMessageBytes);
  if (peer_closed_) return fail(Code::kInvalidArgument, "data on a stream after its close");
  receive_window_ -= cost;
  partial_.bytes += fragment;
  partial_.cost += cost;
  if (last) {
    incoming_.push_back(std::exchange(partial_, {}));
    readable_.notify_all();
  } else if (reading_ && incoming_.empty()) {
    give_back(partial_.cost);
  }
  return {};
}

Result<void> LinkStream::on_credit(uint32_t size) {
  if (size > kWindowBytes - send_window_)
    return fail(Code::kInvalidArgument, "more credit on a stream than was used");
  send_window_ += size;
  if (sending() && carrier_ != nullptr) carrier_->has_data(origin_.id);
  return {};
}

void LinkStream::on_close() {
  peer_closed_ = true;
  if (!partial_.bytes.empty()) end("a message was cut short");
  readable_.notify_all();
  written_.notify_all();
}

}  // namespace cohort::mesh
