#include "transport/shm.h"

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <new>

#include "base/check.h"
#include "transport/shared_memory.h"
#include "transport/socket.h"

namespace cohort::transport {
namespace {

constexpr size_t kLineBytes = 64;
constexpr uint64_t kSlots =
    4;  // few, so that they stay in cache; a sender runs ahead by so many messages
constexpr size_t kReasonBytes = 512;

static_assert(std::atomic<uint64_t>::is_always_lock_free &&
              std::atomic<uint32_t>::is_always_lock_free);

// A message. `turn` is the message's sequence + 1 once it is complete, so the line that tells of a message also
// describes it.
struct Slot {
  alignas(kLineBytes) std::atomic<uint64_t> turn;
  uint64_t total;
  uint32_t length;
  uint16_t kind;
  alignas(kLineBytes) std::byte payload[kMaxMessageBytes];
};

// One direction. Each line has one writer.
struct Lane {
  alignas(kLineBytes) std::atomic<uint64_t> taken;  // messages the receiver is done with
  Slot slots[kSlots];
};

enum Asleep : uint32_t { kAwake = 0, kForMessage = 1, kForRoom = 2 };
enum class State : uint32_t { kHere, kLeft, kAborted };

// What one side tells the other besides messages.
struct Side {
  alignas(kLineBytes)
      std::atomic<uint32_t> asleep;  // what it wants to be woken for; who wakes it clears it
  alignas(kLineBytes) std::atomic<uint32_t> state;
  uint32_t reason_size;
  char reason[kReasonBytes];
};

struct Memory {  // zeroed memory is a valid, empty one
  Side sides[2];
  Lane lanes[2];  // lanes[i] is written by side i
};

class ShmLink final : public Link {
 public:
  ShmLink(UniqueFd socket, Mapping mapping, const ShmOptions& options)
      : socket_(std::move(socket)),
        mapping_(std::move(mapping)),
        name_(options.name),
        ours_(memory().sides[options.creator ? 0 : 1]),
        theirs_(memory().sides[options.creator ? 1 : 0]),
        out_(memory().lanes[options.creator ? 0 : 1]),
        in_(memory().lanes[options.creator ? 1 : 0]) {}

  ~ShmLink() override {
    if (!failure_) ours_.state.store(static_cast<uint32_t>(State::kLeft));
  }

  const std::string& peer() const override { return name_; }
  std::string_view transport() const override { return "shm"; }
  Result<bool> try_send(const OutMessage& message) override;
  Result<std::optional<InMessage>> try_receive() override;
  void release() override;
  Result<void> check() override;
  std::optional<pollfd> arm(Interest interest) override;
  void disarm() override { ours_.asleep.store(kAwake); }
  void abort(std::string_view reason) override;

 private:
  Memory& memory() const { return *std::launder(reinterpret_cast<Memory*>(mapping_.data())); }
  tl::unexpected<Error> broken(Code code, std::string message);
  bool has_room();
  void wake_for(Asleep what);
  Result<bool> drain_doorbell();

  UniqueFd socket_;
  Mapping mapping_;
  std::string name_;
  Side& ours_;
  Side& theirs_;
  Lane& out_;
  Lane& in_;
  std::optional<Error> failure_;
  bool left_ = false;

  uint64_t sent_ = 0;
  uint64_t received_ = 0;
  uint64_t taken_by_peer_ = 0;  // as last seen
  bool held_ = false;
};

tl::unexpected<Error> ShmLink::broken(Code code, std::string message) {
  failure_ = Error{code, fmt::format("{}: {}", name_, message)};
  return tl::unexpected(*failure_);
}

bool ShmLink::has_room() {
  if (sent_ - taken_by_peer_ < kSlots) return true;
  taken_by_peer_ = out_.taken.load();
  return sent_ - taken_by_peer_ < kSlots;
}

// After a store that the peer may be asleep for. Its going to sleep is the mirror image (arm): both sides store, then
// load what the other stores, all sequentially consistent, so at least one of them sees the other.
void ShmLink::wake_for(Asleep what) {
  if ((theirs_.asleep.load() & what) == 0) return;
  if (theirs_.asleep.exchange(kAwake) == kAwake) return;
  const char ring = 'r';
  (void)::send(socket_.get(), &ring, 1,
               kSendFlags);  // full: it is ringing already; closed: check() will tell
}

Result<bool> ShmLink::try_send(const OutMessage& message) {
  if (failure_) return tl::unexpected(*failure_);
  COHORT_CHECK(message.payload.size() <= kMaxMessageBytes);
  if (!has_room()) return false;
  Slot& slot = out_.slots[sent_ % kSlots];
  slot.total = message.total;
  slot.length = static_cast<uint32_t>(message.payload.size());
  slot.kind = static_cast<uint16_t>(message.kind);
  if (!message.payload.empty())
    std::memcpy(slot.payload, message.payload.data(), message.payload.size());
  slot.turn.store(++sent_);
  wake_for(kForMessage);
  return true;
}

Result<std::optional<InMessage>> ShmLink::try_receive() {
  if (failure_) return tl::unexpected(*failure_);
  COHORT_CHECK(!held_);
  const Slot& slot = in_.slots[received_ % kSlots];
  if (slot.turn.load(std::memory_order_acquire) != received_ + 1) {
    if (left_) return broken(Code::kUnavailable, "has left");
    return std::nullopt;
  }
  // Through the same checks as bytes from a wire, on a copy that the peer cannot change afterwards.
  std::array<std::byte, Header::kBytes> bytes;
  write_header({.sequence = received_,
                .total = slot.total,
                .length = slot.length,
                .kind = static_cast<Kind>(slot.kind)},
               bytes);
  Result<Header> header = read_header(bytes, received_, name_);
  if (!header) {
    failure_ = header.error();
    return tl::unexpected(*failure_);
  }
  held_ = true;
  return InMessage{header->kind, header->total, {slot.payload, header->length}};
}

void ShmLink::release() {
  if (!held_) return;
  held_ = false;
  in_.taken.store(++received_);
  wake_for(kForRoom);
}

// True when the peer's end of the socket is closed.
Result<bool> ShmLink::drain_doorbell() {
  char rings[64];
  while (true) {
    const ssize_t count = recv(socket_.get(), rings, sizeof(rings), MSG_DONTWAIT);
    if (count == 0) return true;
    if (count > 0) continue;
    if (errno == EAGAIN || errno == EWOULDBLOCK) return false;
    if (errno == ECONNRESET) return true;
    if (errno != EINTR) return broken(Code::kUnavailable, strerror(errno));
  }
}

Result<void> ShmLink::check() {
  if (failure_) return tl::unexpected(*failure_);
  if (left_) return {};
  COHORT_TRY(const bool closed, drain_doorbell());
  const auto state = static_cast<State>(theirs_.state.load());
  if (state == State::kAborted) {
    const size_t size = std::min<size_t>(theirs_.reason_size, kReasonBytes);
    return broken(Code::kUnavailable,
                  fmt::format("gave up: {}", std::string_view(theirs_.reason, size)));
  }
  if (closed && state != State::kLeft) return broken(Code::kUnavailable, "its process ended");
  left_ = closed;
  return {};
}

std::optional<pollfd> ShmLink::arm(Interest interest) {
  const uint32_t wanted =
      (interest.receive ? kForMessage : kAwake) | (interest.send ? kForRoom : kAwake);
  ours_.asleep.store(wanted);
  const bool has_message = in_.slots[received_ % kSlots].turn.load() == received_ + 1;
  if ((interest.receive && has_message && !held_) || (interest.send && has_room()))
    return std::nullopt;
  return pollfd{.fd = left_ ? -1 : socket_.get(), .events = POLLIN, .revents = 0};
}

void ShmLink::abort(std::string_view reason) {
  if (!failure_) {
    ours_.reason_size = static_cast<uint32_t>(std::min(reason.size(), kReasonBytes));
    std::memcpy(ours_.reason, reason.data(), ours_.reason_size);
    ours_.state.store(static_cast<uint32_t>(State::kAborted));
    failure_ = Error{Code::kUnavailable, fmt::format("{}: this side gave up: {}", name_, reason)};
  }
  shutdown(socket_.get(), SHUT_RDWR);
}

Result<UniqueFd> receive_memory(const UniqueFd& socket, Deadline deadline) {
  while (true) {
    COHORT_TRY(UniqueFd memory, try_receive_fd(socket));
    if (memory) return memory;
    if (deadline.passed()) return fail(Code::kTimeout, "no shared memory came");
    pollfd watched{.fd = socket.get(), .events = POLLIN, .revents = 0};
    poll(&watched, 1, static_cast<int>(deadline.left(std::chrono::seconds(1)).count()));
  }
}

Result<Mapping> share_memory(const UniqueFd& socket, const ShmOptions& options) {
  UniqueFd memory;
  if (options.creator) {
    COHORT_TRY(memory, create_shared_memory(sizeof(Memory)));
    COHORT_TRY_VOID(send_fd(socket, memory));
  } else {
    COHORT_TRY(memory, receive_memory(socket, options.deadline));
    COHORT_TRY_VOID(check_shared_memory(memory, sizeof(Memory)));
  }
  return Mapping::make(memory, sizeof(Memory));
}

}  // namespace

Result<std::unique_ptr<Link>> open_shm_link(UniqueFd socket, const ShmOptions& options) {
  tune_socket(socket.get());
  Result<Mapping> mapping = share_memory(socket, options);
  if (!mapping) return fail_in(options.name, std::move(mapping).error());
  return std::make_unique<ShmLink>(std::move(socket), std::move(*mapping), options);
}

}  // namespace cohort::transport
