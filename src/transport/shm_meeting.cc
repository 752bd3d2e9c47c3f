#include "transport/shm_meeting.h"

#include "base/local_address.h"
#include "base/log.h"
#include "transport/shm.h"
#include "transport/socket.h"

namespace cohort::transport {
namespace {

constexpr std::string_view kReached = "reached";
constexpr std::chrono::milliseconds kProofLimit{1000};  // for who has connected to say who it is
constexpr int kMaxCallers = 16;

Result<void> prove(const UniqueFd& socket, HandshakeOptions handshake) {
  handshake.offers = 0;
  handshake.deadline = Deadline::after(handshake.deadline.left(kProofLimit));
  COHORT_TRY(const Greeting greeting, shake_hands(socket, handshake));
  return prove_keys(socket, greeting, handshake.deadline);
}

// The first who proves that it is the rank we met. The name is nobody else's to know, but can be seen on this host.
Result<UniqueFd> take_caller(const UniqueFd& listener, const Meeting& meeting) {
  for (int callers = 0; callers < kMaxCallers; ++callers) {
    COHORT_TRY(UniqueFd socket, accept_local(listener, meeting.handshake().deadline));
    const Result<void> proven = prove(socket, meeting.handshake());
    if (proven) return socket;
    log::warn("a stranger at the local socket of rank {} is turned away: {}",
              meeting.handshake().rank, proven.error().message);
  }
  return fail(Code::kUnavailable, "strangers crowd its local socket");
}

Result<UniqueFd> be_reached(Meeting& meeting) {
  const std::string name = random_local_name();
  const Result<UniqueFd> listener = listen_local(name);
  COHORT_TRY_VOID(meeting.tell(listener ? name : std::string()));
  if (!listener) return tl::unexpected(listener.error());
  const Result<std::string> answer = meeting.hear();
  Result<UniqueFd> socket = fail(Code::kUnavailable, "not on the same host");
  if (answer && *answer == kReached) socket = take_caller(*listener, meeting);
  forget_local_socket(name);
  return socket;
}

Result<UniqueFd> reach(Meeting& meeting) {
  COHORT_TRY(const std::string name, meeting.hear());
  if (name.empty()) return fail(Code::kUnavailable, "the other side cannot listen");
  Result<UniqueFd> socket = connect_local(name);
  COHORT_TRY_VOID(meeting.tell(socket ? kReached : std::string_view()));
  if (!socket) return fail(Code::kUnavailable, "not on the same host");
  COHORT_TRY_VOID(prove(*socket, meeting.handshake()));
  return socket;
}

}  // namespace

Result<std::unique_ptr<Link>> open_shm_between(Meeting& meeting) {
  const bool dialled = meeting.dialled();
  COHORT_TRY(UniqueFd socket, dialled ? reach(meeting) : be_reached(meeting));
  return open_shm_link(
      std::move(socket),
      {.creator = dialled, .name = meeting.peer(), .deadline = meeting.handshake().deadline});
}

}  // namespace cohort::transport
