#include "transport/tcp.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include "base/check.h"
#include "transport/socket.h"

namespace cohort::transport {
namespace {

constexpr size_t kMaxFrameBytes = Header::kBytes + kMaxMessageBytes + Cipher::kTagBytes;
constexpr size_t kInputBytes = 4 * kMaxFrameBytes;

bool would_block() { return errno == EAGAIN || errno == EWOULDBLOCK; }

class TcpLink final : public Link {
 public:
  TcpLink(UniqueFd socket, std::string name)
      : socket_(std::move(socket)), name_(std::move(name)), input_(kInputBytes) {}

  ~TcpLink() override {
    if (!failure_) (void)try_send({.kind = Kind::kLeave});
  }

  void encrypt(Cipher sealer, Cipher opener) {
    sealer_ = std::move(sealer);
    opener_ = std::move(opener);
  }

  const std::string& peer() const override { return name_; }
  std::string_view transport() const override { return "tcp"; }
  Result<bool> try_send(const OutMessage& message) override;
  Result<std::optional<InMessage>> try_receive() override;
  void release() override { held_ = false; }
  Result<void> check() override;
  std::optional<pollfd> arm(Interest interest) override;
  void disarm() override {}
  void abort(std::string_view reason) override;

 private:
  struct Frame {
    Header header;
    std::span<std::byte> payload;
    size_t size = 0;  // with header and tag
  };

  Result<void> begin(const OutMessage& message);
  Result<size_t> fill();
  Result<std::optional<Frame>> frame_at(size_t offset, uint64_t sequence) const;
  Result<void> open(const Frame& frame);
  Result<std::optional<InMessage>> take(const Frame& frame);
  tl::unexpected<Error> broken(Code code, std::string message);
  tl::unexpected<Error> gave_up(const Frame& frame);
  size_t tag_bytes() const { return opener_ ? Cipher::kTagBytes : 0; }

  UniqueFd socket_;
  std::string name_;
  std::optional<Cipher> sealer_, opener_;
  std::optional<Error> failure_;
  bool ended_ = false;  // the peer sends no more
  bool left_ = false;   // and said so

  // The message being sent: `sent_` of its bytes are with the kernel.
  bool sending_ = false;
  size_t sent_ = 0;
  uint64_t send_sequence_ = 0;
  std::array<std::byte, Header::kBytes> header_;
  std::vector<std::byte> sealed_;  // header, ciphertext, tag; empty when not encrypted

  // Bytes [first_, last_) of input_ have come and are not taken yet.
  std::vector<std::byte> input_;
  size_t first_ = 0, last_ = 0;
  uint64_t receive_sequence_ = 0;
  bool held_ = false;  // a message's payload is out: nothing in front of last_ may move
};

tl::unexpected<Error> TcpLink::broken(Code code, std::string message) {
  failure_ = Error{code, fmt::format("{}: {}", name_, message)};
  return tl::unexpected(*failure_);
}

Result<void> TcpLink::begin(const OutMessage& message) {
  COHORT_CHECK(message.payload.size() <= kMaxMessageBytes);
  write_header({.sequence = send_sequence_,
                .total = message.total,
                .length = static_cast<uint32_t>(message.payload.size()),
                .kind = message.kind},
               header_);
  if (sealer_) {
    sealed_.resize(Header::kBytes + message.payload.size() + Cipher::kTagBytes);
    std::memcpy(sealed_.data(), header_.data(), Header::kBytes);
    COHORT_TRY_VOID(
        sealer_->seal(send_sequence_, header_, message.payload, sealed_.data() + Header::kBytes));
  }
  ++send_sequence_;
  sent_ = 0;
  sending_ = true;
  return {};
}

Result<bool> TcpLink::try_send(const OutMessage& message) {
  if (failure_) return tl::unexpected(*failure_);
  if (!sending_) COHORT_TRY_VOID(begin(message));
  const std::span<const std::byte> head = sealer_ ? std::span<const std::byte>(sealed_) : header_;
  const std::span<const std::byte> body = sealer_ ? std::span<const std::byte>() : message.payload;
  while (sent_ < head.size() + body.size()) {
    iovec parts[2];
    size_t count = 0;
    for (const auto& [part, before] : {std::pair(head, size_t{0}), std::pair(body, head.size())}) {
      const size_t skip = sent_ > before ? sent_ - before : 0;
      if (skip >= part.size()) continue;
      parts[count++] = {const_cast<std::byte*>(part.data()) + skip, part.size() - skip};
    }
    msghdr call{};
    call.msg_iov = parts;
    call.msg_iovlen = count;
    const ssize_t sent = sendmsg(socket_.get(), &call, kSendFlags);
    if (sent >= 0) {
      sent_ += static_cast<size_t>(sent);
    } else if (would_block()) {
      return false;
    } else if (errno != EINTR) {
      return broken(Code::kUnavailable, strerror(errno));
    }
  }
  sending_ = false;
  return true;
}

// Reads what has come, as far as there is room; the number of bytes, 0 for none now.
Result<size_t> TcpLink::fill() {
  if (ended_) return 0;
  if (!held_ && first_ == last_) first_ = last_ = 0;
  if (!held_ && input_.size() - first_ < kMaxFrameBytes) {
    std::memmove(input_.data(), input_.data() + first_, last_ - first_);
    last_ -= first_;
    first_ = 0;
  }
  if (last_ == input_.size()) return 0;
  while (true) {
    const ssize_t count =
        recv(socket_.get(), input_.data() + last_, input_.size() - last_, MSG_DONTWAIT);
    if (count > 0) {
      last_ += static_cast<size_t>(count);
      return static_cast<size_t>(count);
    }
    if (count == 0) {
      ended_ = true;
      return 0;
    }
    if (would_block()) return 0;
    if (errno != EINTR) return broken(Code::kUnavailable, strerror(errno));
  }
}

// The frame that starts at `offset` of the input, when all of it is here. Not decrypted.
Result<std::optional<TcpLink::Frame>> TcpLink::frame_at(size_t offset, uint64_t sequence) const {
  if (last_ - offset < Header::kBytes) return std::nullopt;
  const std::span<const std::byte> bytes = std::span(input_).subspan(offset);
  COHORT_TRY(const Header header, read_header(bytes.first<Header::kBytes>(), sequence, name_));
  const size_t size = Header::kBytes + header.length + tag_bytes();
  if (last_ - offset < size) return std::nullopt;
  std::byte* payload = const_cast<std::byte*>(bytes.data()) + Header::kBytes;
  return Frame{header, {payload, header.length}, size};
}

Result<void> TcpLink::open(const Frame& frame) {
  if (!opener_) return {};
  const std::byte* start = frame.payload.data() - Header::kBytes;
  const std::span<const std::byte, Cipher::kTagBytes> tag(
      frame.payload.data() + frame.payload.size(), Cipher::kTagBytes);
  if (opener_->open(frame.header.sequence, {start, Header::kBytes}, frame.payload, tag)) return {};
  return broken(Code::kDataLoss, fmt::format("message {} was not sealed with this link's key",
                                             frame.header.sequence));
}

tl::unexpected<Error> TcpLink::gave_up(const Frame& frame) {
  if (auto opened = open(frame); !opened) return tl::unexpected(opened.error());
  const std::string_view reason(reinterpret_cast<const char*>(frame.payload.data()),
                                frame.payload.size());
  return broken(Code::kUnavailable, fmt::format("gave up: {}", reason));
}

// Consumes the frame at first_; nullopt when it was for the link itself.
Result<std::optional<InMessage>> TcpLink::take(const Frame& frame) {
  if (frame.header.kind == Kind::kAbort) return gave_up(frame);
  COHORT_TRY_VOID(open(frame));
  first_ += frame.size;
  ++receive_sequence_;
  if (frame.header.kind == Kind::kLeave) {
    left_ = true;
    return std::nullopt;
  }
  held_ = true;
  return InMessage{frame.header.kind, frame.header.total, frame.payload};
}

Result<std::optional<InMessage>> TcpLink::try_receive() {
  if (failure_) return tl::unexpected(*failure_);
  COHORT_CHECK(!held_);
  while (true) {
    Result<std::optional<Frame>> frame = frame_at(first_, receive_sequence_);
    if (!frame) return broken(frame.error().code, std::move(frame).error().message);
    if (*frame) {
      COHORT_TRY(const std::optional<InMessage> message, take(**frame));
      if (message) return message;
    }
    if (left_) return broken(Code::kUnavailable, "has left");
    COHORT_TRY(const size_t count, fill());
    if (count == 0 && ended_) return broken(Code::kUnavailable, "the connection was closed");
    if (count == 0) return std::nullopt;
  }
}

Result<void> TcpLink::check() {
  if (failure_) return tl::unexpected(*failure_);
  COHORT_TRY_VOID(fill());
  // Look past messages not taken yet for a farewell.
  Kind last_kind = left_ ? Kind::kLeave : Kind::kPoint;
  uint64_t sequence = receive_sequence_;
  for (size_t offset = first_; offset < last_;) {
    Result<std::optional<Frame>> frame = frame_at(offset, sequence++);
    if (!frame) return broken(frame.error().code, std::move(frame).error().message);
    if (!*frame) break;
    last_kind = (*frame)->header.kind;
    if (last_kind == Kind::kAbort) return gave_up(**frame);
    offset += (*frame)->size;
  }
  if (ended_ && last_kind != Kind::kLeave)
    return broken(Code::kUnavailable, "the connection was closed");
  if (!ended_ && peer_is_silent(socket_.get()))
    return broken(Code::kUnavailable, "does not answer any more");
  return {};
}

std::optional<pollfd> TcpLink::arm(Interest interest) {
  if (interest.receive && first_ < last_) {
    const Result<std::optional<Frame>> frame = frame_at(first_, receive_sequence_);
    if (!frame || *frame) return std::nullopt;
  }
  short events = 0;
  if (interest.receive) events |= POLLIN;
  if (interest.send) events |= POLLOUT;
  // Without interest only death wakes; a connection that ended in good order must not wake for ever.
  return pollfd{.fd = ended_ ? -1 : socket_.get(), .events = events, .revents = 0};
}

void TcpLink::abort(std::string_view reason) {
  if (!failure_) {
    const auto text = std::as_bytes(std::span(reason.substr(0, kMaxMessageBytes)));
    if (!sending_) (void)try_send({.kind = Kind::kAbort, .total = text.size(), .payload = text});
    failure_ = Error{Code::kUnavailable, fmt::format("{}: this side gave up: {}", name_, reason)};
  }
  shutdown(socket_.get(), SHUT_WR);
}

// The first sealed message of each direction; by it each side knows that the other holds the secret.
Result<void> prove_key(Link& link, int fd, Deadline deadline) {
  COHORT_TRY_VOID(link.try_send({.kind = Kind::kKeyProof}));
  while (true) {
    Result<std::optional<InMessage>> message = link.try_receive();
    if (!message && message.error().code == Code::kDataLoss) {
      return fail(Code::kUnauthorized, "it holds another secret");
    }
    if (!message) return tl::unexpected(std::move(message).error());
    if (*message && (*message)->kind == Kind::kKeyProof) break;
    if (*message) return fail(Code::kUnauthorized, "it did not prove the secret");
    if (deadline.passed()) return fail(Code::kTimeout, "no proof of the secret came");
    pollfd watched{.fd = fd, .events = POLLIN, .revents = 0};
    poll(&watched, 1, static_cast<int>(deadline.left(std::chrono::seconds(1)).count()));
  }
  link.release();
  return {};
}

}  // namespace

Result<OpenedLink> open_tcp_link_to_any(UniqueFd socket, const HandshakeOptions& options,
                                        const std::function<std::string(int)>& name_of) {
  const int fd = socket.get();
  tune_socket(fd);
  tune_tcp_socket(fd);
  COHORT_TRY(const Greeting greeting, shake_hands(socket, options));
  auto link = std::make_unique<TcpLink>(std::move(socket), name_of(greeting.peer_rank));
  if (!greeting.send_key)
    return OpenedLink{greeting.peer_rank, greeting.peer_offers, std::move(link)};
  COHORT_TRY(Cipher sealer, Cipher::make(*greeting.send_key));
  COHORT_TRY(Cipher opener, Cipher::make(*greeting.receive_key));
  link->encrypt(std::move(sealer), std::move(opener));
  if (auto proven = prove_key(*link, fd, options.deadline); !proven) {
    link->abort("the secrets differ");
    return tl::unexpected(std::move(proven).error());
  }
  return OpenedLink{greeting.peer_rank, greeting.peer_offers, std::move(link)};
}

Result<std::unique_ptr<Link>> open_tcp_link(UniqueFd socket, const HandshakeOptions& options,
                                            std::string name) {
  auto opened = open_tcp_link_to_any(std::move(socket), options, [&](int) { return name; });
  if (!opened) return fail_in(name, std::move(opened).error());
  return std::move(opened->link);
}

}  // namespace cohort::transport
