#include "transport/mesh.h"

#include <poll.h>

#include "base/check.h"

namespace cohort::transport {

Mesh::Mesh(int rank, std::vector<std::unique_ptr<Link>> links, const MeshOptions& options)
    : rank_(rank),
      links_(std::move(links)),
      options_(options),
      patience_(options.spin_time),
      refused_(links_.size()) {
  COHORT_CHECK(rank >= 0 && rank < size());
  for (int r = 0; r < size(); ++r)
    COHORT_CHECK((links_[static_cast<size_t>(r)] == nullptr) == (r == rank));
}

Result<void> Mesh::after_round(Progress progress, Deadline deadline) {
  if (progress != Progress::kMoved) return wait(deadline);
  patience_.begin_wait();
  return {};
}

void Mesh::abort_run(Kind kind, const Error& error) {
  abort({error.code, fmt::format("{}: {}", kind_name(kind), error.message)});
}

Result<bool> Mesh::push(Kind kind, Outbound& out) {
  bool moved = false;
  while (!out.done) {
    const size_t length = std::min(out.piece, out.bytes.size() - out.offset);
    COHORT_TRY(const bool sent, links_[static_cast<size_t>(out.rank)]->try_send(
                                    {.kind = kind,
                                     .total = out.bytes.size(),
                                     .payload = out.bytes.subspan(out.offset, length)}));
    if (!sent) {
      refused_[static_cast<size_t>(out.rank)].send = true;
      break;
    }
    out.offset += length;
    out.done = out.offset == out.bytes.size();
    moved = true;
  }
  return moved;
}

Result<std::optional<InMessage>> Mesh::pull(Kind kind, int rank) {
  Link& link = *links_[static_cast<size_t>(rank)];
  COHORT_TRY(const std::optional<InMessage> message, link.try_receive());
  if (!message) {
    refused_[static_cast<size_t>(rank)].receive = true;
  } else if (message->kind != kind) {
    return fail(Code::kDataLoss, "{}: sent {} where this rank expects {}", link.peer(),
                kind_name(message->kind), kind_name(kind));
  }
  return message;
}

tl::unexpected<Error> Mesh::wrong_size(int rank, const InMessage& message, size_t expected) const {
  return fail(Code::kDataLoss, "{}: sent {} bytes (of a transfer of {}) where {} were due",
              links_[static_cast<size_t>(rank)]->peer(), message.payload.size(), message.total,
              expected);
}

Result<void> Mesh::check() {
  if (failure_) return tl::unexpected(*failure_);
  Result<void> alive = look(Deadline::never());
  if (!alive) abort(alive.error());
  return alive;
}

void Mesh::abort(Error reason) {
  if (failure_) return;
  failure_ = std::move(reason);
  for (const auto& link : links_) {
    if (link) link->abort(failure_->message);
  }
}

Result<void> Mesh::wait(Deadline deadline) {
  if (idle_work_ != nullptr) (*idle_work_)();
  switch (patience_.next()) {
    case Patience::Advice::kSpin: return {};
    case Patience::Advice::kLook: return look(deadline);
    case Patience::Advice::kSleep: sleep(deadline); return look(deadline);
  }
  return {};
}

Error Mesh::cancellation() const {
  return {Code::kCancelled, fmt::format("cancelled on rank {}", rank_)};
}

Result<void> Mesh::look(Deadline deadline) {
  for (const auto& link : links_) {
    if (link) COHORT_TRY_VOID(link->check());
  }
  if (cancelled()) return tl::unexpected(cancellation());
  if (deadline.passed())
    return fail(Code::kTimeout, "the deadline passed while waiting for {}", awaited_peers());
  return {};
}

void Mesh::sleep(Deadline deadline) {
  sleepers_.clear();
  bool ready = false;
  for (size_t r = 0; r < links_.size(); ++r) {
    if (!links_[r]) continue;
    const std::optional<pollfd> sleeper = links_[r]->arm(refused_[r]);
    ready |= !sleeper.has_value();
    if (sleeper) sleepers_.push_back(*sleeper);
  }
  if (!ready) {
    poll(sleepers_.data(), static_cast<nfds_t>(sleepers_.size()),
         static_cast<int>(deadline.left(kLongestSleep).count()));
  }
  for (const auto& link : links_) {
    if (link) link->disarm();
  }
}

std::string Mesh::awaited_peers() const {
  std::string names;
  for (size_t r = 0; r < links_.size(); ++r) {
    if (!refused_[r].send && !refused_[r].receive) continue;
    if (!names.empty()) names += ", ";
    names += links_[r]->peer();
  }
  return names.empty() ? "nobody" : names;
}

}  // namespace cohort::transport
