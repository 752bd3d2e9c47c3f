#include "transport/frames/frame_link.h"
#include "transport/frames/probe.h"
#include "transport/ucx/ucx.h"
#include "transport/ucx/ucx_port.h"

namespace cohort::transport {
namespace {

constexpr uint32_t kSession = 1;  // a worker has but one peer

// Null, and why, when the two do not reach each other; an error only of the meeting.
Result<std::unique_ptr<UcxPort>> open_port(Meeting& meeting, const FrameMemory& memory,
                                           std::string& why) {
  auto port = UcxPort::make(memory.all());
  const Result<std::string> address = port ? (*port)->address() : std::string();
  COHORT_TRY_VOID(meeting.tell(address.value_or("")));
  COHORT_TRY(const std::string peer, meeting.hear());
  Result<void> connected = port ? Result<void>() : tl::unexpected(port.error());
  if (port && peer.empty()) connected = fail(Code::kUnavailable, "the other has no UCX");
  if (connected) connected = (*port)->connect(peer);
  if (connected) connected = post_all_slots(**port, memory, 0);
  COHORT_TRY(const bool both_connected, agree(meeting, connected.has_value()));
  const bool crossing = both_connected && frames_cross(**port, memory, 0);
  COHORT_TRY(const bool both_crossing, agree(meeting, crossing));
  if (both_crossing) return std::move(*port);
  why = connected ? "nothing comes across" : connected.error().message;
  return nullptr;
}

}  // namespace

Result<std::unique_ptr<Link>> open_ucx_between(Meeting& meeting) {
  COHORT_TRY(Alarm alarm, Alarm::make());
  FrameMemory memory(FrameRules(), /*rails=*/1);
  std::string why;
  COHORT_TRY(std::unique_ptr<FramePort> port, open_port(meeting, memory, why));
  if (!port) return fail(Code::kUnavailable, "{}", why);
  std::vector<std::unique_ptr<FramePort>> rails;
  rails.push_back(std::move(port));
  return std::make_unique<FrameLink>(FrameLink::Parts{.control = meeting.take_link(),
                                                      .memory = std::move(memory),
                                                      .rails = std::move(rails),
                                                      .session = kSession,
                                                      .alarm = std::move(alarm),
                                                      .transport = "ucx"});
}

bool has_ucx() { return ucx_library().has_value(); }

}  // namespace cohort::transport
