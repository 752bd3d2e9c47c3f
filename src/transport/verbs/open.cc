#include <algorithm>
#include <array>
#include <optional>

#include "base/bytes.h"
#include "base/check.h"
#include "base/log.h"
#include "transport/cipher.h"
#include "transport/verbs/offer.h"
#include "transport/verbs/queue_pair.h"
#include "transport/verbs/verbs.h"
#include "transport/frames/frame_link.h"
#include "transport/frames/probe.h"

namespace cohort::transport {
namespace {

class Opening {
 public:
  Opening(Meeting& meeting, const VerbsOptions& options)
      : meeting_(meeting), options_(options), rules_(options.rules.value_or(kSystemRules)) {}

  Result<FrameLink::Parts> run();

 private:
  Result<void> exchange_offers();
  std::vector<Match> matches() const {
    return meeting_.dialled() ? matches_of(ours_, theirs_) : matches_of(theirs_, ours_);
  }
  bool fits_beside(const std::vector<Match>& used, const Match& match) const;
  Result<std::unique_ptr<QueuePair>> try_match(const Match& match);

  Meeting& meeting_;
  const VerbsOptions& options_;
  const VerbsRules rules_;
  std::optional<FrameMemory> memory_;
  std::vector<RdmaPort> ports_;
  Offer ours_, theirs_;
  std::vector<std::unique_ptr<FramePort>> rails_;
  std::string refusals_;
};

Result<void> Opening::exchange_offers() {
  ports_ = options_.ports;
  if (ports_.empty()) ports_ = rdma_ports().value_or(std::vector<RdmaPort>());
  std::erase_if(ports_, [this](const RdmaPort& port) {
    return !port.usable() || (rules_.needs_ipv4 && !port.has_ipv4());
  });
  ports_.resize(std::min(ports_.size(), Offer::kMaxPorts));
  std::array<std::byte, 4> random;
  COHORT_TRY_VOID(fill_random(random));
  ours_.session = load<uint32_t>(random.data()) | 1;  // 0 is a probe's
  ours_.rails = static_cast<uint16_t>(options_.max_rails);
  ours_.frames = rules_.frames;
  const bool reliable = rules_.has_reliable && options_.type.value_or(QueuePairType::kReliable) ==
                                                   QueuePairType::kReliable;
  for (const RdmaPort& port : ports_) {
    ours_.ports.push_back({.lid = port.lid,
                           .mtu_bytes = port.mtu_bytes,
                           .reliable = reliable,
                           .gid = port.gid,
                           .mbit_per_s = static_cast<uint32_t>(port.gbit_per_s * 1000)});
  }
  COHORT_TRY_VOID(meeting_.tell(ours_.encode()));
  COHORT_TRY(const std::string theirs, meeting_.hear());
  COHORT_TRY(theirs_, Offer::decode(theirs));
  return {};
}

Result<FrameLink::Parts> Opening::run() {
  COHORT_TRY(Alarm alarm, Alarm::make());
  COHORT_TRY_VOID(exchange_offers());
  if (ours_.ports.empty())
    return fail(Code::kUnavailable, "no usable RDMA port on this device. {}", rdma_facts().problem);
  if (theirs_.ports.empty()) return fail(Code::kUnavailable, "the other has no usable RDMA port");
  const size_t wanted =
      std::min<size_t>({ours_.rails, theirs_.rails, ours_.ports.size(), theirs_.ports.size()});
  memory_.emplace(common_rules(ours_.frames, theirs_.frames), static_cast<uint32_t>(wanted));
  std::vector<Match> used;
  for (const Match& match : matches()) {
    if (rails_.size() == wanted) break;
    if (!fits_beside(used, match)) continue;
    COHORT_TRY(std::unique_ptr<QueuePair> rail, try_match(match));
    if (!rail && !used.empty()) break;  // more of them are a gain, and not worth more tries
    if (!rail) continue;
    rails_.push_back(std::move(rail));
    used.push_back(match);
  }
  if (rails_.empty()) return fail(Code::kUnavailable, "{}", refusals_);
  const bool reliable = rails_.front()->is_reliable();
  return FrameLink::Parts{.memory = std::move(*memory_),
                          .rails = std::move(rails_),
                          .session = meeting_.dialled() ? ours_.session : theirs_.session,
                          .alarm = std::move(alarm),
                          .transport = reliable ? "verbs" : "verbs-uc"};
}

bool Opening::fits_beside(const std::vector<Match>& used, const Match& match) const {
  const Offer& dialler = meeting_.dialled() ? ours_ : theirs_;
  const Offer& dialled = meeting_.dialled() ? theirs_ : ours_;
  return std::ranges::none_of(used, [&](const Match& u) { return u.shares_port(match); }) &&
         (used.empty() || is_rail_beside(dialler, dialled, used.front(), match));
}

// Null when the two do not reach each other; an error only of the meeting.
Result<std::unique_ptr<QueuePair>> Opening::try_match(const Match& match) {
  const RdmaPort& port = ports_[meeting_.dialled() ? match.dialler : match.dialled];
  const auto refuse = [&](const std::string& why) {
    log::debug("RDMA port {} towards {}: {}", port.device, meeting_.peer(), why);
    if (refusals_.find(why) == std::string::npos)
      refusals_ += (refusals_.empty() ? "" : "; ") + why;
    return std::unique_ptr<QueuePair>();
  };
  const size_t mine = meeting_.dialled() ? match.dialler : match.dialled;
  const size_t other = meeting_.dialled() ? match.dialled : match.dialler;
  const bool reliable = ours_.ports[mine].reliable && theirs_.ports[other].reliable;
  auto made = QueuePair::make(port, {.reliable = reliable, .rules = rules_}, *memory_);
  COHORT_TRY_VOID(meeting_.tell(made ? (*made)->address().encode() : std::string()));
  COHORT_TRY(const std::string answer, meeting_.hear());
  if (!made) return refuse(made.error().message);
  if (answer.empty()) return refuse("the other cannot use its RDMA port");
  COHORT_TRY(const RailAddress peer, RailAddress::decode(answer));

  Result<void> connected = (*made)->connect(peer);
  const auto rail = static_cast<uint32_t>(rails_.size());
  if (connected) connected = post_all_slots(**made, *memory_, rail);
  COHORT_TRY(const bool both_connected, agree(meeting_, connected.has_value()));
  if (!connected) return refuse(connected.error().message);
  if (!both_connected) return refuse("the other cannot connect its RDMA port");
  COHORT_TRY(const bool both_reached, agree(meeting_, frames_cross(**made, *memory_, rail)));
  if (!both_reached) return refuse(fmt::format("nothing comes across from {}", port.device));
  return std::move(*made);
}

}  // namespace

Result<std::unique_ptr<Link>> open_verbs_link(Meeting& meeting, const VerbsOptions& options) {
  COHORT_CHECK(options.max_rails >= 1 && options.max_rails <= kMaxRails);
  COHORT_TRY(FrameLink::Parts parts, Opening(meeting, options).run());
  parts.control = meeting.take_link();
  return std::make_unique<FrameLink>(std::move(parts));
}

Result<std::unique_ptr<Link>> open_verbs_between(Meeting& meeting) {
  return open_verbs_link(meeting, {});
}

Result<std::unique_ptr<Link>> open_unreliable_verbs_between(Meeting& meeting) {
  return open_verbs_link(meeting, {.type = QueuePairType::kUnreliable});
}

Result<std::unique_ptr<Link>> open_apple_verbs_between(Meeting& meeting) {
  return open_verbs_link(meeting, {.rules = kAppleRules});
}

bool has_usable_rdma_port() {
  const auto ports = rdma_ports();
  return ports && std::ranges::any_of(*ports, &RdmaPort::usable);
}

}  // namespace cohort::transport
