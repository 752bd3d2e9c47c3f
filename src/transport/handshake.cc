#include "transport/handshake.h"

#include <array>

#include "base/bytes.h"
#include "transport/socket.h"

namespace cohort::transport {
namespace {

constexpr uint64_t kMagic = 0x4b4c74726f686f63;  // "cohortLK"
constexpr uint32_t kVersion = 1;
constexpr uint32_t kMaxRank = 1 << 16;
constexpr size_t kRandomBytes = 32;
constexpr size_t kHelloBytes = 32 + kRandomBytes;

using Hello = std::array<std::byte, kHelloBytes>;

Result<Hello> make_hello(const HandshakeOptions& options) {
  Hello hello{};
  store(hello.data(), kMagic);
  store(hello.data() + 8, kVersion);
  store(hello.data() + 12, static_cast<uint32_t>(options.secret.has_value()));
  store(hello.data() + 16, options.instance);
  store(hello.data() + 24, static_cast<uint32_t>(options.rank));
  store(hello.data() + 28, options.offers);
  COHORT_TRY_VOID(fill_random(std::span(hello).subspan(32)));
  return hello;
}

Result<int> check_hello(const Hello& hello, const HandshakeOptions& options) {
  if (load<uint64_t>(hello.data()) != kMagic) {
    return fail(Code::kInvalidArgument, "what answers is not a cohort runner");
  }
  if (const auto version = load<uint32_t>(hello.data() + 8); version != kVersion) {
    return fail(Code::kInvalidArgument, "it speaks version {} of the link protocol, this side {}",
                version, kVersion);
  }
  if ((load<uint32_t>(hello.data() + 12) != 0) != options.secret.has_value()) {
    return fail(Code::kInvalidArgument, "one side wants encryption and the other does not");
  }
  if (load<uint64_t>(hello.data() + 16) != options.instance) {
    return fail(Code::kInvalidArgument, "it belongs to another instance");
  }
  const auto rank = load<uint32_t>(hello.data() + 24);
  const bool wanted =
      options.peer_rank == kAnyRank || rank == static_cast<uint32_t>(options.peer_rank);
  if (rank >= kMaxRank || !wanted || rank == static_cast<uint32_t>(options.rank)) {
    return fail(Code::kInvalidArgument, "it says that it is rank {}", rank);
  }
  return static_cast<int>(rank);
}

// Differs between directions (the ranks) and between connections (both sides' random numbers).
Result<LinkKey> direction_key(const LinkKey& secret, const Hello& from, const Hello& to) {
  constexpr std::string_view kLabel = "cohort link 1";
  std::array<std::byte, kLabel.size() + 2 * kHelloBytes> context;
  std::byte* out = context.data();
  std::memcpy(out, kLabel.data(), kLabel.size());
  std::memcpy(out + kLabel.size(), from.data(), kHelloBytes);
  std::memcpy(out + kLabel.size() + kHelloBytes, to.data(), kHelloBytes);
  return derive_key(secret, context);
}

}  // namespace

Result<Greeting> shake_hands(const UniqueFd& socket, const HandshakeOptions& options) {
  COHORT_TRY(const Hello ours, make_hello(options));
  COHORT_TRY_VOID(write_fully(socket, ours, options.deadline));
  Hello theirs;
  COHORT_TRY_VOID(read_fully(socket, theirs, options.deadline));
  Greeting greeting;
  COHORT_TRY(greeting.peer_rank, check_hello(theirs, options));
  greeting.peer_offers = load<uint32_t>(theirs.data() + 28);
  if (!options.secret) return greeting;
  COHORT_TRY(greeting.send_key, direction_key(*options.secret, ours, theirs));
  COHORT_TRY(greeting.receive_key, direction_key(*options.secret, theirs, ours));
  return greeting;
}

Result<void> prove_keys(const UniqueFd& socket, const Greeting& greeting, Deadline deadline) {
  if (!greeting.send_key) return {};
  constexpr std::string_view kLabel = "cohort link proof 1";
  const auto label = std::as_bytes(std::span(kLabel));
  COHORT_TRY(const LinkKey ours, derive_key(*greeting.send_key, label));
  COHORT_TRY(const LinkKey expected, derive_key(*greeting.receive_key, label));
  COHORT_TRY_VOID(write_fully(socket, ours, deadline));
  LinkKey theirs;
  COHORT_TRY_VOID(read_fully(socket, theirs, deadline));
  if (same_key(theirs, expected)) return {};
  return fail(Code::kUnauthorized, "it holds another secret");
}

}  // namespace cohort::transport
