#include "mesh/handshake.h"

#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>

#include "base/bytes.h"

namespace cohort::mesh {
namespace {

constexpr size_t kMaxReasonBytes = 512;

char letter(Role role) { return role == Role::kDialer ? 'd' : 'l'; }
Role other(Role role) { return role == Role::kDialer ? Role::kListener : Role::kDialer; }

Error hung_up(const boost::system::error_code& error) {
  if (error == asio::error::operation_aborted)
    return {Code::kTimeout, "the handshake took too long"};
  return {Code::kUnavailable, "it hung up in the handshake"};
}

net::Task<Result<void>> write_block(SecureSocket& socket, std::string block) {
  std::string bytes(sizeof(uint32_t), '\0');
  store(bytes.data(), static_cast<uint32_t>(block.size()));
  bytes += block;
  const auto buffer = asio::buffer(bytes);
  const auto [error, size] = co_await asio::async_write(socket, buffer, net::kAsTuple);
  if (error) co_return tl::unexpected(hung_up(error));
  co_return Result<void>();
}

net::Task<Result<std::string>> read_block(SecureSocket& socket, size_t max_bytes) {
  uint32_t size = 0;
  const auto header = asio::buffer(&size, sizeof size);
  const auto [header_error, header_size] = co_await asio::async_read(socket, header, net::kAsTuple);
  if (header_error) co_return tl::unexpected(hung_up(header_error));
  if (size > max_bytes)
    co_return fail(Code::kTooLarge, "it announced {} bytes where {} are the limit", size,
                   max_bytes);
  std::string block(size, '\0');
  const auto buffer = asio::buffer(block);
  const auto [error, got] = co_await asio::async_read(socket, buffer, net::kAsTuple);
  if (error) co_return tl::unexpected(hung_up(error));
  co_return block;
}

// A verdict: one byte of the code (0: yes), then the reason.
net::Task<Result<void>> write_verdict(SecureSocket& socket, Result<void> verdict) {
  std::string block = "\1";
  block[0] = '\0';
  if (!verdict) {
    block = std::string(code_name(verdict.error().code)) + '\n' +
            verdict.error().message.substr(0, kMaxReasonBytes / 2);
  }
  co_return co_await write_block(socket, std::move(block));
}

net::Task<Result<void>> read_verdict(SecureSocket& socket) {
  const auto block = co_await read_block(socket, kMaxReasonBytes);
  if (!block) co_return tl::unexpected(block.error());
  if (*block == std::string(1, '\0')) co_return Result<void>();
  const size_t line = block->find('\n');
  if (line == std::string::npos)
    co_return fail(Code::kInvalidArgument, "its verdict makes no sense");
  std::string reason = block->substr(line + 1);
  for (char& c : reason) c = static_cast<unsigned char>(c) < 0x20 ? '?' : c;
  co_return fail(code_from_name(block->substr(0, line)), "it refused: {}", reason);
}

Result<void> check(const Hello& ours, const Result<Hello>& theirs) {
  if (!theirs) return tl::unexpected(theirs.error());
  if (theirs->id == ours.id) {
    if (theirs->boot_unix_ms == ours.boot_unix_ms)
      return fail(Code::kNotFound, "it is this device itself");
    return fail(
        Code::kInvalidArgument,
        "it has this device's id: its data folder is a copy of ours; remove its device-key");
  }
  COHORT_TRY_VOID(agree_on_version(ours, *theirs));
  return {};
}

}  // namespace

net::Task<Result<Hello>> shake_hands(SecureSocket& socket, HandshakeOptions options) {
  COHORT_CO_TRY_VOID(co_await secure(socket, options.role));
  const std::string binding = channel_binding(socket);
  auto hello = encode_hello(options.hello, options.identity, letter(options.role), binding);
  if (!hello) co_return tl::unexpected(hello.error());
  COHORT_CO_TRY_VOID(co_await write_block(socket, std::move(*hello)));
  const auto block = co_await read_block(socket, kMaxHelloBytes);
  if (!block) co_return tl::unexpected(block.error());
  auto theirs =
      decode_hello(*block, letter(other(options.role)), binding, options.hello.cluster_namespace);
  Result<void> verdict = check(options.hello, theirs);
  const bool we_decide = theirs && options.hello.id < theirs->id;
  if (verdict && we_decide) {
    COHORT_CO_TRY_VOID(co_await read_verdict(socket));
    verdict = options.admit(*theirs);
  }
  const auto told = co_await write_verdict(socket, verdict);
  if (!verdict) co_return tl::unexpected(verdict.error());
  if (!told) co_return tl::unexpected(told.error());
  if (!we_decide) COHORT_CO_TRY_VOID(co_await read_verdict(socket));
  co_return theirs;
}

}  // namespace cohort::mesh
