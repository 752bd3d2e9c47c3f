#include "transport/frames/courier.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "base/check.h"

namespace cohort::transport {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr microseconds kTellAfter{200};  // what came, if no message carries it before
constexpr microseconds kFirstPatience{10'000};
constexpr microseconds kLeastPatience{1'000};
constexpr microseconds kMostPatience{100'000};
constexpr int kMaxDoublings = 7;
constexpr int kMostCompletions = 64;  // taken at a time
constexpr milliseconds kStall{
    150};  // nobody worked here for so long: what we did not hear then is no silence
constexpr uint32_t kPingId = kMaxWindow + kNoteSlots;
static_assert(kMaxWindow <= 32, "a bit of FrameHead::beyond for each");

}  // namespace

void RoundTrips::add(Duration sample) {
  if (smooth_ == Duration::zero()) {
    smooth_ = sample;
    deviation_ = sample / 2;
    return;
  }
  const Duration error = sample - smooth_;
  deviation_ += ((error < Duration::zero() ? -error : error) - deviation_) / 4;
  smooth_ += error / 8;
}

RoundTrips::Duration RoundTrips::patience(int tries) const {
  const Duration usual =
      smooth_ == Duration::zero() ? Duration(kFirstPatience) : smooth_ + 4 * deviation_;
  const Duration first = std::clamp<Duration>(usual, kLeastPatience, kMostPatience);
  return std::min<Duration>(first * (1 << std::min(tries, kMaxDoublings)), kMostPatience);
}

Courier::Courier(FrameMemory memory, std::vector<std::unique_ptr<FramePort>> rails, Options options)
    : memory_(std::move(memory)),
      rules_(memory_.rules()),
      rails_(std::move(rails)),
      options_(std::move(options)),
      heard_(options_.now),
      noted_(options_.now),
      worked_(options_.now) {
  COHORT_CHECK(!rails_.empty());
}

bool Courier::has_room() const {
  return next_ - peer_taken_ < rules_.window && outbox_[place_of(next_)].posted == 0;
}

Result<bool> Courier::try_send(const OutMessage& message, Time now) {
  COHORT_CHECK(message.payload.size() <= kMaxMessageBytes);
  COHORT_CHECK(cut_ <= message.payload.size());
  do {
    if (!has_room()) {
      COHORT_TRY_VOID(work(now));
      if (!has_room()) return false;
    }
    COHORT_TRY_VOID(send_piece(message, now));
  } while (cut_ > 0);
  return true;
}

Result<void> Courier::send_piece(const OutMessage& message, Time now) {
  const std::span<const std::byte> left = message.payload.subspan(cut_);
  const std::span<const std::byte> piece = left.first(std::min(left.size(), rules_.piece_bytes()));
  const std::span<std::byte> slot = memory_.message(place_of(next_));
  write_header({.sequence = next_,
                .total = message.total,
                .length = static_cast<uint32_t>(left.size()),
                .kind = message.kind},
               slot.subspan<FrameHead::kBytes, Header::kBytes>());
  if (!piece.empty()) std::memcpy(slot.data() + kFrameOverhead, piece.data(), piece.size());
  outbox_[place_of(next_)] = {
      .size = kFrameOverhead + piece.size(), .first = now, .arrived = false};
  COHORT_TRY_VOID(post(next_, now));
  ++next_;
  cut_ = piece.size() == left.size() ? 0 : cut_ + piece.size();
  return {};
}

Result<void> Courier::post(uint64_t sequence, Time now) {
  const uint32_t id = place_of(sequence);
  Sent& sent = outbox_[id];
  const std::span<std::byte> frame = memory_.message(id).first(sent.size);
  write_frame_head(head_now(), frame.data());
  sent.last = now;
  ++sent.posted;
  return rails_[rail_of(sequence)]->send(id, frame);
}

// Behind a note: a device that missed a packet of the frame before this one may drop what comes next with it (software
// RDMA does), which would go on for as long as long frames follow each other.
Result<void> Courier::post_again(uint64_t sequence, Time now) {
  ++outbox_[place_of(sequence)].tries;
  COHORT_TRY_VOID(note(rail_of(sequence), now));
  return post(sequence, now);
}

// What a frame sent now tells the peer.
FrameHead Courier::head_now() {
  FrameHead head{.arrived = arrived_, .taken = taken_, .session = options_.session};
  for (uint64_t s = arrived_ + 1; s < taken_ + rules_.window; ++s) {
    if (inbox_[place_of(s)].here) head.beyond |= 1u << (s - arrived_ - 1);
  }
  told_arrived_ = arrived_;
  told_taken_ = taken_;
  must_tell_ = false;
  return head;
}

Result<std::optional<InMessage>> Courier::try_receive(Time now) {
  COHORT_CHECK(!held_);
  while (true) {
    if (!has_message()) {
      COHORT_TRY_VOID(work(now));
      if (!has_message()) return std::nullopt;
    }
    COHORT_TRY(const Piece piece, next_piece());
    const Header header = piece.header;
    held_ = piece.is_last();
    if (held_ && joining_.missing == 0) return InMessage{header.kind, header.total, piece.bytes};
    COHORT_TRY_VOID(join(piece));
    COHORT_TRY_VOID(give_back(now));
    if (held_) return InMessage{header.kind, header.total, joining_.bytes};
  }
}

Result<Courier::Piece> Courier::next_piece() const {
  const Received& received = inbox_[place_of(taken_)];
  const std::span<std::byte> frame =
      memory_.received(rail_of(taken_), received.slot).first(received.size);
  COHORT_TRY(const Header header, read_header(frame.subspan<FrameHead::kBytes, Header::kBytes>(),
                                              taken_, options_.peer));
  const Piece piece{header, frame.subspan(kFrameOverhead)};
  const bool is_full = piece.bytes.size() == rules_.piece_bytes();
  if (piece.is_last() || (is_full && header.length > piece.bytes.size())) return piece;
  return fail(Code::kDataLoss, "{}: message {} claims {} bytes and has {}", options_.peer, taken_,
              header.length, piece.bytes.size());
}

Result<void> Courier::join(const Piece& piece) {
  const bool begins = joining_.missing == 0;
  const bool follows = piece.header.length == joining_.missing &&
                       piece.header.kind == joining_.last.kind &&
                       piece.header.total == joining_.last.total;
  if (!begins && !follows) {
    return fail(Code::kDataLoss, "{}: message {} goes on with {} bytes where {} were due",
                options_.peer, taken_, piece.header.length, joining_.missing);
  }
  joining_.last = piece.header;
  joining_.bytes.insert(joining_.bytes.end(), piece.bytes.begin(), piece.bytes.end());
  joining_.missing = piece.header.length - piece.bytes.size();
  return {};
}

Result<void> Courier::release(Time now) {
  if (!held_) return {};
  held_ = false;
  if (joining_.bytes.empty()) return give_back(now);
  joining_.bytes.clear();
  return {};
}

// The frame that was taken last: its slot is free again.
Result<void> Courier::give_back(Time now) {
  Received& received = inbox_[place_of(taken_)];
  COHORT_TRY_VOID(repost(rail_of(taken_), received.slot));
  received.here = false;
  if (!owes_report()) owing_since_ = now;
  ++taken_;
  return report(now);
}

Result<void> Courier::repost(uint32_t rail, uint32_t slot) {
  return rails_[rail]->receive(slot, memory_.received(rail, slot));
}

Result<void> Courier::work(Time now) {
  for (uint32_t rail = 0; rail < rails_.size(); ++rail) {
    for (int i = 0; i < kMostCompletions; ++i) {
      COHORT_TRY(const std::optional<FramePort::Completion> done, rails_[rail]->poll());
      if (!done) break;
      if (!done->received) {
        sent(done->id, now);
        continue;
      }
      COHORT_TRY_VOID(accept(rail, *done, now));
    }
  }
  COHORT_TRY_VOID(beat(now));
  if (!is_reliable()) COHORT_TRY_VOID(send_again(now));
  return report(now);
}

void Courier::sent(uint32_t id, Time now) {
  if (rails_.front()->works_alone()) heard_ = now;  // the peer's device has taken it
  if (id < kMaxWindow) {
    --outbox_[id].posted;
  } else if (id < kPingId) {
    note_busy_[id - kMaxWindow] = false;
  } else {
    asking_ = false;
  }
}

Result<void> Courier::beat(Time now) {
  const auto stalled = now - std::exchange(worked_, now);
  if (rails_.front()->works_alone()) return ask_for_life(now);
  if (stalled > kStall) heard_ += stalled;
  if (now - heard_ > kSilenceLimit)
    return fail(Code::kUnavailable, "{}: does not answer over RDMA any more", options_.peer);
  return now - noted_ < kPulse ? Result<void>() : note(rail_of(arrived_), now);
}

// What is under way already will tell.
Result<void> Courier::ask_for_life(Time now) {
  if (now - heard_ < kPulse || asking_ || is_anything_posted()) return {};
  asking_ = true;
  return rails_.front()->ping(kPingId);
}

bool Courier::is_anything_posted() const {
  return std::ranges::any_of(outbox_, [](const Sent& sent) { return sent.posted > 0; }) ||
         std::ranges::any_of(note_busy_, [](bool busy) { return busy; });
}

Result<void> Courier::accept(uint32_t rail, const FramePort::Completion& frame, Time now) {
  const std::byte* bytes = memory_.received(rail, frame.id).data();
  const FrameHead head = frame.size >= FrameHead::kBytes ? read_frame_head(bytes) : FrameHead{};
  if (head.session != options_.session) return repost(rail, frame.id);  // a probe, late
  COHORT_TRY_VOID(hear(head, now));
  if (frame.size < kFrameOverhead) return repost(rail, frame.id);
  COHORT_TRY(const bool kept, keep(rail, frame, now));
  return kept ? Result<void>() : repost(rail, frame.id);
}

// A message goes to its place; false when it has come before.
Result<bool> Courier::keep(uint32_t rail, const FramePort::Completion& frame, Time now) {
  const auto sequence = load<uint64_t>(memory_.received(rail, frame.id).data() + FrameHead::kBytes);
  if (sequence >= taken_ + rules_.window || rail_of(sequence) != rail) {
    return fail(Code::kDataLoss, "{}: message {} came where {} was due", options_.peer, sequence,
                arrived_);
  }
  Received& place = inbox_[place_of(sequence)];
  if (sequence < arrived_ || place.here) {
    must_tell_ = true;
    return false;
  }
  if (!owes_report()) owing_since_ = now;
  place = {.here = true, .slot = frame.id, .size = frame.size};
  must_tell_ |= sequence != arrived_;
  while (arrived_ < taken_ + rules_.window && inbox_[place_of(arrived_)].here) ++arrived_;
  return true;
}

Result<void> Courier::hear(const FrameHead& head, Time now) {
  if (head.arrived > next_ || head.taken > head.arrived) {
    return fail(Code::kDataLoss, "{}: reports {} messages where {} were sent", options_.peer,
                head.arrived, next_);
  }
  heard_ = now;
  peer_taken_ = std::max(peer_taken_, head.taken);
  const auto arrive = [&](uint64_t sequence) {
    Sent& sent = outbox_[place_of(sequence)];
    if (!sent.arrived && sent.tries == 0) trips_.add(now - sent.first);
    sent.arrived = true;
  };
  for (; peer_arrived_ < head.arrived; ++peer_arrived_) arrive(peer_arrived_);
  if (head.arrived < peer_arrived_ || head.beyond == 0) return {};

  const auto seen = static_cast<uint64_t>(std::bit_width(head.beyond));  // messages beyond the gap
  const uint64_t last = std::min(head.arrived + seen, next_ - 1);
  for (uint64_t s = head.arrived + 1; s <= last; ++s) {
    if ((head.beyond >> (s - head.arrived - 1)) & 1) arrive(s);
  }
  for (uint64_t s = head.arrived; s < last; ++s) {
    Sent& missing = outbox_[place_of(s)];
    if (missing.arrived || missing.posted > 0) continue;
    if (missing.tries > 0 && now - missing.last < trips_.smooth()) continue;  // it is on its way
    COHORT_TRY_VOID(post_again(s, now));
  }
  return {};
}

Result<void> Courier::send_again(Time now) {
  for (uint64_t s = peer_arrived_; s < next_; ++s) {
    Sent& sent = outbox_[place_of(s)];
    if (sent.arrived) continue;
    if (sent.posted > 0 || now < due(sent)) continue;
    COHORT_TRY_VOID(post_again(s, now));
  }
  return {};
}

// Room is told of before the sender runs out of it; the rest is for a sender who must know what to send again.
Result<void> Courier::report(Time now) {
  const bool late = !is_reliable() && owes_report() && now - owing_since_ >= kTellAfter;
  const bool gap = !is_reliable() && must_tell_;
  return gap || late || taken_ - told_taken_ >= rules_.window / 2 ? tell(now) : Result<void>();
}

Result<void> Courier::tell(Time now) {
  return must_tell_ || owes_report() ? note(rail_of(arrived_), now) : Result<void>();
}

Result<void> Courier::note(uint32_t rail, Time now) {
  const auto free = std::find(note_busy_.begin(), note_busy_.end(), false);
  if (free == note_busy_.end()) return {};  // one is on its way
  *free = true;
  noted_ = now;
  const auto slot = static_cast<uint32_t>(free - note_busy_.begin());
  write_frame_head(head_now(), memory_.note(slot).data());
  return rails_[rail]->send(kMaxWindow + slot, memory_.note(slot));
}

bool Courier::is_delivered() const {
  if (!is_reliable()) return peer_arrived_ == next_;
  return std::ranges::none_of(outbox_, [](const Sent& sent) { return sent.posted > 0; });
}

std::optional<Courier::Time> Courier::alarm() const {
  std::optional<Time> soonest;
  if (is_reliable()) return soonest;
  const auto consider = [&](Time time) { soonest = std::min(soonest.value_or(time), time); };
  for (uint64_t s = peer_arrived_; s < next_; ++s) {
    if (!outbox_[place_of(s)].arrived) consider(due(outbox_[place_of(s)]));
  }
  if (owes_report()) consider(owing_since_ + kTellAfter);
  return soonest;
}

}  // namespace cohort::transport
