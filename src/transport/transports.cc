#include "transport/transports.h"

#include <algorithm>
#include <vector>

#include "base/log.h"
#include "transport/shm_meeting.h"
#include "transport/ucx/ucx.h"
#include "transport/verbs/verbs.h"

namespace cohort::transport {
namespace {

bool always() { return true; }

// The fastest first; TCP is what remains.
constexpr Transport kTransports[] = {
    {"shm", 1u << 0, open_shm_between, always},
    {"verbs", 1u << 1, open_verbs_between, has_usable_rdma_port},
    {"verbs-uc", 1u << 2, open_unreliable_verbs_between, has_usable_rdma_port, /*automatic=*/false},
    {"ucx", 1u << 3, open_ucx_between, has_ucx, /*automatic=*/false},
    // For tests: what macOS does, wherever there are verbs.
    {"verbs-mac", 1u << 4, open_apple_verbs_between, has_usable_rdma_port, /*automatic=*/false},
};

// The transports that a wish allows beside TCP, in the order to try them.
std::vector<const Transport*> to_try(const LinkWish& wish) {
  std::vector<const Transport*> order;
  const bool any = wish.transport == kAnyTransport;
  for (const Transport& transport : kTransports) {
    const bool is_first = any && transport.name == wish.first;
    const bool is_allowed =
        any ? transport.automatic && wish.first != kTcp : transport.name == wish.transport;
    if (is_first || is_allowed) order.insert(is_first ? order.begin() : order.end(), &transport);
  }
  return order;
}

// Of two sides that failed each knows its own reason; "the other cannot" is not all there is to say.
std::string both_reasons(const std::string& ours, const std::string& theirs) {
  if (ours.empty() || theirs.empty() || ours == theirs) return ours.empty() ? theirs : ours;
  return fmt::format("{}; there: {}", ours, theirs);
}

// Both sides come to the same answer. Null, and why, when it does not work between them.
Result<std::unique_ptr<Link>> change_over(const Transport& to, Meeting& meeting, std::string& why) {
  Result<std::unique_ptr<Link>> opened = to.open(meeting);
  std::string ours = opened ? "" : opened.error().message;
  if (!opened && ours.empty()) ours = "it failed";
  COHORT_TRY_VOID(meeting.tell(ours));
  COHORT_TRY(std::string theirs, meeting.hear());
  if (opened && theirs.empty()) return std::move(*opened);
  if (!why.empty()) why += fmt::format("; {}: ", to.name);
  why += both_reasons(ours, theirs);
  return nullptr;
}

}  // namespace

Result<void> check_transport(std::string_view wish) {
  std::string names = fmt::format("{}, {}", kAnyTransport, kTcp);
  bool known = wish == kAnyTransport || wish == kTcp;
  for (const Transport& transport : kTransports) {
    known |= wish == transport.name;
    names += fmt::format(", {}", transport.name);
  }
  if (known) return {};
  return fail(Code::kInvalidArgument, "transport: '{}' is none of {}", wish, names);
}

uint32_t offers_for(const LinkWish& wish) {
  uint32_t offers = 0;
  for (const Transport* transport : to_try(wish)) {
    if (transport->is_here()) offers |= transport->offer;
  }
  return offers;
}

Result<std::unique_ptr<Link>> settle_link(OpenedLink met, HandshakeOptions handshake,
                                          const LinkWish& wish, bool dialled) {
  handshake.peer_rank = met.peer_rank;
  Meeting meeting(std::move(met.link), handshake, dialled);
  std::string why;
  for (const Transport* transport : to_try(wish)) {
    if ((transport->offer & handshake.offers & met.peer_offers) == 0) continue;
    COHORT_TRY(std::unique_ptr<Link> link, change_over(*transport, meeting, why));
    if (link) return link;
  }
  if (wish.transport != kAnyTransport && wish.transport != kTcp) {
    return fail(Code::kInvalidArgument, "{}: not linked by {}, as was wished: {}", meeting.peer(),
                wish.transport, why.empty() ? "it does not offer that" : why);
  }
  log::debug("{}: linked by tcp{}", meeting.peer(), why.empty() ? "" : " (" + why + ")");
  return meeting.take_link();
}

}  // namespace cohort::transport
