#include "mesh/candidates.h"

#include <algorithm>
#include <utility>

namespace cohort::mesh {
namespace {

net::Clock::duration longest_wait(const Candidate& candidate) {
  if (candidate.is_us || candidate.source == Source::kRemembered) return Candidates::kSeldom;
  return candidate.source == Source::kHeard ? Candidates::kLastRetryOfHeard
                                            : Candidates::kLastRetry;
}

net::Clock::duration retry_after(const Candidate& candidate) {
  if (candidate.is_us) return Candidates::kSeldom;
  const int doublings = std::min(candidate.failures, 10);
  return std::min(longest_wait(candidate),
                  net::Clock::duration(Candidates::kFirstRetry) * (1 << doublings));
}

}  // namespace

Result<Candidate> parse_peer(const std::string& text, uint16_t default_port) {
  Candidate candidate{.host = text, .port = default_port};
  const size_t colon = text.rfind(':');
  const bool bracketed = text.starts_with('[');
  const bool bare_v6 = !bracketed && text.find(':') != colon;
  if (colon != std::string::npos && !bare_v6 && (!bracketed || text[colon - 1] == ']')) {
    const std::string digits = text.substr(colon + 1);
    const bool fine = !digits.empty() && digits.size() <= 5 &&
                      digits.find_first_not_of("0123456789") == std::string::npos;
    const int port = fine ? std::stoi(digits) : 0;
    if (port < 1 || port > UINT16_MAX)
      return fail(Code::kInvalidArgument, "peer '{}': the port must be 1 to 65535", text);
    candidate.host = text.substr(0, colon);
    candidate.port = static_cast<uint16_t>(port);
  }
  if (bracketed && candidate.host.ends_with(']'))
    candidate.host = candidate.host.substr(1, candidate.host.size() - 2);
  if (candidate.host.empty()) return fail(Code::kInvalidArgument, "peer '{}' names no host", text);
  return candidate;
}

void Candidates::add(Candidate candidate) {
  const auto same = [&](const Candidate& known) {
    return known.host == candidate.host && known.port == candidate.port;
  };
  const auto known = std::find_if(candidates_.begin(), candidates_.end(), same);
  if (known == candidates_.end()) {
    if (candidates_.size() < kMax) candidates_.push_back(std::move(candidate));
    return;
  }
  if (!candidate.peer.empty() && candidate.peer != known->peer) {
    known->peer = candidate.peer;
    known->is_us = false;
    known->failures = 0;
    known->next_try = candidate.next_try;
  }
  known->source = std::min(known->source, candidate.source);
  known->forgotten_at = known->source == Source::kHeard ? candidate.forgotten_at : net::kNever;
  known->preference = candidate.preference;
}

bool Candidates::is_dialing(const std::string& peer) const {
  return !peer.empty() &&
         std::any_of(candidates_.begin(), candidates_.end(),
                     [&](const auto& other) { return other.dialing && other.peer == peer; });
}

std::vector<Candidate*> Candidates::take_due(net::TimePoint now, const IsNeedless& is_needless) {
  std::erase_if(candidates_, [&](const Candidate& candidate) {
    return !candidate.dialing && candidate.forgotten_at <= now;
  });
  std::vector<Candidate*> due;
  for (Candidate& candidate : candidates_) {
    if (!candidate.dialing && candidate.next_try <= now) due.push_back(&candidate);
  }
  std::stable_sort(due.begin(), due.end(), [](const Candidate* a, const Candidate* b) {
    return a->preference < b->preference;
  });
  std::erase_if(due, [&](Candidate* candidate) {
    if (is_needless(*candidate) || is_dialing(candidate->peer)) return true;
    candidate->dialing = true;
    return false;
  });
  return due;
}

net::TimePoint Candidates::next_due(const IsNeedless& is_needless) const {
  net::TimePoint next = net::kNever;
  for (const Candidate& candidate : candidates_) {
    if (candidate.dialing || candidate.next_try >= next) continue;
    if (is_needless(candidate) || is_dialing(candidate.peer)) continue;
    next = candidate.next_try;
  }
  return next;
}

std::set<std::string> Candidates::heard() const {
  std::set<std::string> peers;
  for (const Candidate& candidate : candidates_) {
    if (candidate.source == Source::kHeard) peers.insert(candidate.peer);
  }
  return peers;
}

const Candidate* Candidates::best_of(std::string_view peer) const {
  const Candidate* best = nullptr;
  for (const Candidate& candidate : candidates_) {
    if (candidate.peer != peer) continue;
    if (best == nullptr || candidate.preference < best->preference) best = &candidate;
  }
  return best;
}

void Candidates::failed(Candidate& candidate, net::TimePoint now, double chance) {
  candidate.dialing = false;
  const auto wait = retry_after(candidate);
  candidate.next_try =
      now + std::chrono::duration_cast<net::Clock::duration>(wait * (0.75 + 0.5 * chance));
  ++candidate.failures;
}

void Candidates::succeeded(Candidate& candidate, const std::string& peer) {
  candidate.dialing = false;
  candidate.peer = peer;
  candidate.failures = 0;
}

void Candidates::retry(const std::string& peer, net::TimePoint soon) {
  for (Candidate& candidate : candidates_) {
    if (candidate.peer != peer || candidate.dialing) continue;
    candidate.failures = 0;
    candidate.next_try = soon;
  }
}

}  // namespace cohort::mesh
