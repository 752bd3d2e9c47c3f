#include "mesh/link.h"

#include <algorithm>
#include <utility>

#include <boost/asio/write.hpp>

#include "base/bytes.h"
#include "base/check.h"

namespace cohort::mesh {
namespace {

constexpr size_t kBatchBytes = 64u << 10;  // encrypted and written at once

std::string explain(const boost::system::error_code& error) {
  if (error == asio::error::eof || error == asio::ssl::error::stream_truncated) return "it hung up";
  if (error == asio::error::timed_out) return "it does not answer";
  return error.message();
}

}  // namespace

Link::Link(SecureSocket socket, Peer peer, Role role, LinkEvents events)
    : socket_(std::move(socket)),
      peer_(std::move(peer)),
      role_(role),
      events_(std::move(events)),
      last_heard_(net::Clock::now()),
      last_sent_(last_heard_),
      last_tick_(last_heard_),
      writable_(socket_.get_executor()),
      next_stream_(role == Role::kDialer ? 1 : 2),
      tasks_(socket_.get_executor()) {}

Link::~Link() { COHORT_CHECK(streams_.empty()); }

net::Task<std::string> Link::run() {
  tasks_.spawn(write_loop());
  co_await read_loop();
  end("cancelled");
  co_await tasks_.join();
  while (!streams_.empty()) {
    streams_.begin()->second->end(fmt::format("the link to it is gone: {}", why_));
  }
  co_return why_;
}

void Link::end(std::string why) {
  if (why_.empty()) why_ = std::move(why);
  boost::system::error_code ignored;
  socket_.next_layer().close(ignored);
  writable_.notify_all();
}

void Link::tick(net::TimePoint now) {
  // Our own loop was held up: that is not the peer's silence.
  if (now - last_tick_ > kHeartbeat * 2) last_heard_ = std::max(last_heard_, now - kSilence / 2);
  last_tick_ = now;
  if (now - last_heard_ > kSilence) {
    end(fmt::format(
        "nothing was heard of it for {} ms",
        std::chrono::duration_cast<std::chrono::milliseconds>(now - last_heard_).count()));
  } else if (now - last_sent_ >= kHeartbeat && control_frames_.empty()) {
    send_frame({.type = FrameType::kHeartbeat});
  }
}

bool Link::send(std::string message) {
  if (!alive() || leaving_ || message.size() > mesh::kMaxMessageBytes ||
      messages_bytes_ + message.size() > kMaxQueuedBytes) {
    return false;
  }
  messages_bytes_ += message.size();
  messages_.push_back(std::move(message));
  writable_.notify_all();
  return true;
}

bool Link::send_probe(std::string_view message) {
  if (!alive() || leaving_) return false;
  send_frame({.type = FrameType::kProbe, .payload = message});
  return true;
}

void Link::say_goodbye(std::string_view why) {
  if (std::exchange(leaving_, true)) return;
  send_frame({.type = FrameType::kGoodbye, .payload = why});
  goodbye_ = why;
}

Result<std::unique_ptr<Stream>> Link::open_stream(std::string purpose) {
  if (!alive() || leaving_) return fail(Code::kUnavailable, "the link to {} is gone", peer_.id);
  if (purpose.size() > kMaxPurposeBytes)
    return fail(Code::kInvalidArgument, "a stream's purpose is at most {} bytes", kMaxPurposeBytes);
  if (streams_.size() >= kMaxStreams)
    return fail(Code::kResourceExhausted, "{} streams to {} are open", kMaxStreams, peer_.id);
  const uint32_t id = std::exchange(next_stream_, next_stream_ + 2);
  send_frame({.type = FrameType::kStreamOpen, .stream = id, .payload = purpose});
  auto stream = std::make_unique<LinkStream>(
      socket_.get_executor(), *this,
      LinkStream::Origin{.id = id, .peer = peer_.id, .purpose = std::move(purpose)});
  streams_.emplace(id, stream.get());
  return stream;
}

void Link::has_data(uint32_t stream) {
  if (std::find(ready_.begin(), ready_.end(), stream) == ready_.end()) ready_.push_back(stream);
  writable_.notify_all();
}

void Link::send_frame(const Frame& frame) {
  append_frame(control_frames_, frame);
  writable_.notify_all();
}

void Link::forget(uint32_t stream) { streams_.erase(stream); }

net::Task<void> Link::write_loop() {
  std::string batch;
  while (alive()) {
    batch.clear();
    fill_batch(batch);
    if (batch.empty() && leaving_) co_return end(goodbye_);
    if (batch.empty()) {
      if (co_await writable_.wait() == net::Wake::kCancelled) co_return end("cancelled");
      continue;
    }
    last_sent_ = net::Clock::now();
    const auto buffer = asio::buffer(batch);
    const auto [error, size] = co_await asio::async_write(socket_, buffer, net::kAsTuple);
    if (error) co_return end(explain(error));
  }
}

void Link::fill_batch(std::string& batch) {
  std::swap(batch, control_frames_);
  while (!messages_.empty() && batch.size() < kBatchBytes) append_message(batch);
  append_streams(batch);
}

void Link::append_message(std::string& batch) {
  const std::string& message = messages_.front();
  const size_t size = std::min(message.size() - message_sent_, kFragmentBytes);
  const bool last = message_sent_ + size == message.size();
  append_frame(batch, {.type = FrameType::kMessage,
                       .flags = last ? kLast : uint8_t{0},
                       .payload = std::string_view(message).substr(message_sent_, size)});
  message_sent_ += size;
  if (!last) return;
  messages_bytes_ -= message.size();
  message_sent_ = 0;
  messages_.pop_front();
}

// One fragment of each, in turn; who has none left, or no window, waits for has_data().
void Link::append_streams(std::string& batch) {
  while (!ready_.empty() && batch.size() < kBatchBytes) {
    const uint32_t id = ready_.front();
    ready_.pop_front();
    const auto found = streams_.find(id);
    if (found != streams_.end() && found->second->take_fragment(batch)) ready_.push_back(id);
  }
}

net::Task<void> Link::read_loop() {
  FrameReader reader;
  while (alive()) {
    const std::span<char> space = reader.space();
    const auto buffer = asio::buffer(space.data(), space.size());
    const auto [error, size] = co_await socket_.async_read_some(buffer, net::kAsTuple);
    if (error) co_return end(explain(error));
    last_heard_ = net::Clock::now();
    reader.received(size);
    Result<void> fine;
    while (fine && alive()) {
      const auto frame = reader.next();
      if (frame && !*frame) break;
      fine = frame ? on_frame(**frame) : tl::unexpected(frame.error());
    }
    if (!fine) co_return end(fmt::format("it broke the protocol: {}", fine.error().message));
  }
}

Result<void> Link::on_frame(const Frame& frame) {
  switch (frame.type) {
    case FrameType::kHeartbeat: return {};
    case FrameType::kGoodbye:
      end(frame.payload == kUnneeded ? std::string(kUnneeded) : "it left");
      return {};
    case FrameType::kMessage: return on_message(frame);
    case FrameType::kProbe: events_.probe(std::string(frame.payload)); return {};
    case FrameType::kStreamOpen: return on_open(frame);
    default: return on_stream_frame(frame);
  }
}

Result<void> Link::on_message(const Frame& frame) {
  if (partial_message_.size() + frame.payload.size() > mesh::kMaxMessageBytes)
    return fail(Code::kInvalidArgument, "a message over {} bytes", mesh::kMaxMessageBytes);
  partial_message_ += frame.payload;
  if ((frame.flags & kLast) != 0) events_.message(std::exchange(partial_message_, {}));
  return {};
}

Result<void> Link::on_open(const Frame& frame) {
  const bool theirs = frame.stream != 0 && frame.stream % 2 != next_stream_ % 2;
  if (!theirs || frame.stream <= last_peer_stream_ || frame.payload.size() > kMaxPurposeBytes)
    return fail(Code::kInvalidArgument, "a stream opened wrongly");
  last_peer_stream_ = frame.stream;
  if (streams_.size() >= kMaxStreams) {
    send_frame({.type = FrameType::kStreamReset,
                .stream = frame.stream,
                .payload = "too many streams are open"});
    return {};
  }
  auto stream = std::make_unique<LinkStream>(
      socket_.get_executor(), *this,
      LinkStream::Origin{
          .id = frame.stream, .peer = peer_.id, .purpose = std::string(frame.payload)});
  streams_.emplace(frame.stream, stream.get());
  events_.stream(std::move(stream));
  return {};
}

// Its last frames may still be under way after we closed it.
bool Link::opened_before(uint32_t stream) const {
  const bool theirs = stream % 2 != next_stream_ % 2;
  return stream != 0 && (theirs ? stream <= last_peer_stream_ : stream < next_stream_);
}

Result<void> Link::on_stream_frame(const Frame& frame) {
  const auto found = streams_.find(frame.stream);
  if (found == streams_.end()) {
    if (opened_before(frame.stream)) return {};
    return fail(Code::kInvalidArgument, "a frame for stream {}, which is none", frame.stream);
  }
  LinkStream& stream = *found->second;
  switch (frame.type) {
    case FrameType::kStreamData: return stream.on_data(frame.payload, (frame.flags & kLast) != 0);
    case FrameType::kStreamCredit:
      if (frame.payload.size() != sizeof(uint32_t)) break;
      return stream.on_credit(load<uint32_t>(frame.payload.data()));
    case FrameType::kStreamClose: stream.on_close(); return {};
    case FrameType::kStreamReset: stream.end(std::string(frame.payload.substr(0, 256))); return {};
    default: break;
  }
  return fail(Code::kInvalidArgument, "a frame that makes no sense on a stream");
}

}  // namespace cohort::mesh
