#include "transport/group.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <numeric>

#include "base/bytes.h"
#include "base/check.h"
#include "transport/mesh.h"

namespace cohort::transport {
namespace {

using Progress = Mesh::Progress;

struct Range {
  size_t first = 0, count = 0;
};

// What each of `parts` ranks sums in a reduce-scatter, in values: equal shares of whole wire groups.
Range share_of(size_t values, int part, int parts) {
  const size_t share = round_up(divide_up(values, static_cast<size_t>(parts)), kWireGroup);
  const size_t first = std::min(values, share * static_cast<size_t>(part));
  return {first, std::min(share, values - first)};
}

class MeshGroup final : public Group {
 public:
  // members[i] is the mesh rank of this group's rank i.
  MeshGroup(Mesh& mesh, std::vector<int> members, const GroupOptions& options)
      : mesh_(mesh), members_(std::move(members)), options_(options), parts_(members_.size()) {
    const auto self = std::find(members_.begin(), members_.end(), mesh_.rank());
    COHORT_CHECK(self != members_.end());
    rank_ = static_cast<int>(self - members_.begin());
  }

  void own(std::unique_ptr<Mesh> mesh) { owned_mesh_ = std::move(mesh); }

  int rank() const override { return rank_; }
  int size() const override { return static_cast<int>(members_.size()); }
  Result<void> all_sum(std::span<float> values, Deadline deadline) override;
  Result<void> begin_sum(std::span<float> values) override;
  Result<void> go_on() override;
  Result<void> finish_sum(Deadline deadline) override;
  Result<void> all_gather(std::span<const std::byte> part, std::span<const size_t> sizes,
                          std::span<std::byte> all, Deadline deadline) override;
  Result<void> broadcast(int root, std::vector<std::byte>& bytes, Deadline deadline) override;
  Result<void> send(int to, std::span<const std::byte> bytes, Deadline deadline) override;
  Result<void> receive(int from, std::span<std::byte> out, Deadline deadline) override;
  Result<void> send_values(int to, std::span<const float> values, Deadline deadline) override;
  Result<void> receive_values(int from, std::span<float> out, Deadline deadline) override;
  Result<void> barrier(Deadline deadline) override;
  Result<void> tune(Deadline deadline) override;
  Result<void> check() override { return mesh_.check(); }
  void abort(std::string_view reason) override {
    mesh_.abort({Code::kUnavailable, std::string(reason)});
  }
  void set_idle_work(const std::function<void()>* work) override { mesh_.set_idle_work(work); }
  std::unique_ptr<Group> subset(std::span<const int> ranks) override;

 private:
  struct Inbound {
    int member = 0;
    std::span<std::byte> out;
    size_t offset = 0;
    bool done = false;
  };
  // A sum of what all members hold of one range of values, which this rank makes. parts_ holds the pieces that are here.
  struct Reduction {
    std::vector<Outbound> outs;      // what the others are to sum
    std::span<const std::byte> own;  // this rank's part, encoded
    std::span<float> sums;
    size_t first = 0;  // values summed so far
    bool done = false;
  };
  // An all_sum() under way.
  struct Sum {
    std::span<float> values;
    std::span<const std::byte> encoded;
    bool direct = true;
    Reduction reduction;  // of all values; in two steps of this rank's share
  };

  bool is_direct(size_t wire_size) const;
  Result<double> time_sum(bool direct, std::span<float> values, Deadline deadline);
  Result<bool> direct_is_faster(std::span<float> values, Deadline deadline);
  Sum make_sum(std::span<float> values, bool direct);
  Reduction direct_reduction(const Sum& sum) const;
  Reduction scattered_reduction(const Sum& sum) const;
  Result<void> run_sum(Sum& sum, Deadline deadline);
  Result<Progress> reduce(Reduction& reduction);
  Result<void> gather_shares(const Sum& sum, Deadline deadline);
  std::span<const std::byte> encoded(std::span<const float> values);
  std::span<const std::byte> wire_part(std::span<const std::byte> encoded, Range range) const;
  Result<bool> pull_parts(const Reduction& reduction);
  bool add_parts_here(Reduction& reduction);
  Result<void> exchange(Kind kind, std::span<Outbound> outs, std::span<Inbound> ins,
                        Deadline deadline);
  Result<bool> pull_into(Kind kind, Inbound& in);
  Result<void> receive_broadcast(int root, std::vector<std::byte>& bytes, Deadline deadline);
  Result<bool> push_all(Kind kind, std::span<Outbound> outs, bool& done);
  std::vector<Outbound> to_others(std::span<const std::byte> bytes, size_t piece) const;

  size_t piece_values(const Reduction& reduction) const {
    return std::min(wire_piece_values(options_.wire), reduction.sums.size() - reduction.first);
  }

  Mesh& mesh_;
  std::unique_ptr<Mesh> owned_mesh_;  // null in a subset
  std::vector<int> members_;
  int rank_ = 0;
  GroupOptions options_;
  std::optional<size_t> two_steps_from_;  // bytes on the wire, once tuned
  std::optional<Sum> begun_;              // by begin_sum()
  std::vector<std::byte> encoded_;
  std::vector<const std::byte*> parts_;  // by member, of the piece being summed
};

std::vector<Outbound> MeshGroup::to_others(std::span<const std::byte> bytes, size_t piece) const {
  std::vector<Outbound> outs;
  for (int m = 0; m < size(); ++m) {
    if (m != rank_)
      outs.push_back({.rank = members_[static_cast<size_t>(m)], .bytes = bytes, .piece = piece});
  }
  return outs;
}

// Direct: one trip, (n-1) S bytes out of each rank. Reduce-scatter and all-gather: two trips, 2 (n-1)/n S bytes. The
// first is faster while the bytes it sends more, (n-1)(n-2)/n S, take less than a trip.
bool MeshGroup::is_direct(size_t wire_size) const {
  const auto n = static_cast<size_t>(size());
  if (two_steps_from_) return wire_size < *two_steps_from_;
  return n == 2 || (n - 1) * (n - 2) * wire_size <= n * options_.bytes_per_latency;
}

Result<void> MeshGroup::all_sum(std::span<float> values, Deadline deadline) {
  COHORT_CHECK(!begun_);
  if (size() == 1) return {};
  Sum sum = make_sum(values, is_direct(wire_bytes(options_.wire, values.size())));
  return run_sum(sum, deadline);
}

Result<void> MeshGroup::begin_sum(std::span<float> values) {
  COHORT_CHECK(!begun_);
  if (size() == 1) return {};
  begun_ = make_sum(values, is_direct(wire_bytes(options_.wire, values.size())));
  return go_on();
}

Result<void> MeshGroup::go_on() {
  if (!begun_ || begun_->reduction.done) return {};
  return mesh_.run_while_moving(Kind::kAllSum, [&] { return reduce(begun_->reduction); });
}

Result<void> MeshGroup::finish_sum(Deadline deadline) {
  if (!begun_) return {};
  const Result<void> done = run_sum(*begun_, deadline);
  begun_.reset();
  return done;
}

std::span<const std::byte> MeshGroup::encoded(std::span<const float> values) {
  if (options_.wire == Wire::kF32) return std::as_bytes(values);
  encoded_.resize(std::max(encoded_.size(), wire_bytes(options_.wire, values.size())));
  encode(options_.wire, values, encoded_.data());
  return std::span(encoded_).first(wire_bytes(options_.wire, values.size()));
}

// `range` starts at a whole wire group.
std::span<const std::byte> MeshGroup::wire_part(std::span<const std::byte> encoded,
                                                Range range) const {
  return encoded.subspan(wire_bytes(options_.wire, range.first),
                         wire_bytes(options_.wire, range.count));
}

MeshGroup::Sum MeshGroup::make_sum(std::span<float> values, bool direct) {
  Sum sum{.values = values, .encoded = encoded(values), .direct = direct};
  sum.reduction = direct ? direct_reduction(sum) : scattered_reduction(sum);
  std::fill(parts_.begin(), parts_.end(), nullptr);
  return sum;
}

MeshGroup::Reduction MeshGroup::direct_reduction(const Sum& sum) const {
  const size_t piece = wire_bytes(options_.wire, wire_piece_values(options_.wire));
  return {.outs = to_others(sum.encoded, piece), .own = sum.encoded, .sums = sum.values};
}

MeshGroup::Reduction MeshGroup::scattered_reduction(const Sum& sum) const {
  const Range mine = share_of(sum.values.size(), rank_, size());
  std::vector<Outbound> outs =
      to_others({}, wire_bytes(options_.wire, wire_piece_values(options_.wire)));
  for (Outbound& out : outs) {
    const auto member = std::find(members_.begin(), members_.end(), out.rank) - members_.begin();
    const Range theirs = share_of(sum.values.size(), static_cast<int>(member), size());
    out.bytes = wire_part(sum.encoded, theirs);
  }
  return {.outs = std::move(outs),
          .own = wire_part(sum.encoded, mine),
          .sums = sum.values.subspan(mine.first, mine.count)};
}

Result<void> MeshGroup::run_sum(Sum& sum, Deadline deadline) {
  COHORT_TRY_VOID(mesh_.run(Kind::kAllSum, deadline, [&] { return reduce(sum.reduction); }));
  return sum.direct ? Result<void>() : gather_shares(sum, deadline);
}

// The second of the two steps. The sums travel, and count, as the wire makes them; for kF32 they stand in their place.
Result<void> MeshGroup::gather_shares(const Sum& sum, Deadline deadline) {
  const Wire wire = options_.wire;
  const size_t count = sum.values.size();
  const Range mine = share_of(count, rank_, size());
  std::byte* gathered =
      wire == Wire::kF32 ? std::as_writable_bytes(sum.values).data() : encoded_.data();
  if (wire != Wire::kF32) encode(wire, sum.reduction.sums, gathered + wire_bytes(wire, mine.first));
  std::vector<Outbound> outs = to_others(wire_part(sum.encoded, mine), kMaxMessageBytes);
  std::vector<Inbound> ins;
  for (int m = 0; m < size(); ++m) {
    const std::span<const std::byte> part = wire_part(sum.encoded, share_of(count, m, size()));
    if (m != rank_)
      ins.push_back(
          {.member = m, .out = {gathered + (part.data() - sum.encoded.data()), part.size()}});
  }
  COHORT_TRY_VOID(exchange(Kind::kAllSum, outs, ins, deadline));
  if (wire != Wire::kF32) decode(wire, gathered, sum.values);
  return {};
}

Result<bool> MeshGroup::push_all(Kind kind, std::span<Outbound> outs, bool& done) {
  bool moved = false;
  done = true;
  for (Outbound& out : outs) {
    COHORT_TRY(const bool pushed, mesh_.push(kind, out));
    moved |= pushed;
    done &= out.done;
  }
  return moved;
}

// One round of it.
Result<Progress> MeshGroup::reduce(Reduction& reduction) {
  bool sent_all = false;
  COHORT_TRY(bool moved, push_all(Kind::kAllSum, reduction.outs, sent_all));
  if (!reduction.done) {
    COHORT_TRY(const bool pulled, pull_parts(reduction));
    moved |= pulled | add_parts_here(reduction);
  }
  if (sent_all && reduction.done) return Progress::kDone;
  return moved ? Progress::kMoved : Progress::kStuck;
}

// Takes the next piece of those members whose piece is not here yet.
Result<bool> MeshGroup::pull_parts(const Reduction& reduction) {
  bool moved = false;
  for (size_t m = 0; m < members_.size(); ++m) {
    if (static_cast<int>(m) == rank_ || parts_[m] != nullptr) continue;
    COHORT_TRY(const std::optional<InMessage> message, mesh_.pull(Kind::kAllSum, members_[m]));
    if (!message) continue;
    const size_t expected = wire_bytes(options_.wire, piece_values(reduction));
    if (message->payload.size() != expected || message->total != reduction.own.size()) {
      return mesh_.wrong_size(members_[m], *message, expected);
    }
    parts_[m] = message->payload.data();
    moved = true;
  }
  return moved;
}

// Once a piece is here from all, and our own values of it have gone out (the sums take their place), adds it in one
// pass over the links' memories.
bool MeshGroup::add_parts_here(Reduction& reduction) {
  const size_t offset = wire_bytes(options_.wire, reduction.first);
  const size_t count = piece_values(reduction);
  const size_t end = offset + wire_bytes(options_.wire, count);
  parts_[static_cast<size_t>(rank_)] = reduction.own.data() + offset;
  const bool sent = std::ranges::all_of(
      reduction.outs, [&](const Outbound& o) { return o.done || o.offset >= end; });
  for (size_t m = 0; m < members_.size(); ++m) {
    if (!sent || (parts_[m] == nullptr && static_cast<int>(m) != rank_)) return false;
  }
  add_parts(options_.wire, parts_, reduction.sums.subspan(reduction.first, count));
  for (size_t m = 0; m < members_.size(); ++m) {
    if (static_cast<int>(m) != rank_) mesh_.release(members_[m]);
    parts_[m] = nullptr;
  }
  reduction.first += count;
  reduction.done = reduction.first == reduction.sums.size();
  return true;
}

// Sends `outs` and receives `ins` at the same time.
Result<void> MeshGroup::exchange(Kind kind, std::span<Outbound> outs, std::span<Inbound> ins,
                                 Deadline deadline) {
  return mesh_.run(kind, deadline, [&]() -> Result<Progress> {
    bool done = false;
    COHORT_TRY(bool moved, push_all(kind, outs, done));
    for (Inbound& in : ins) {
      COHORT_TRY(const bool pulled, pull_into(kind, in));
      moved |= pulled;
      done &= in.done;
    }
    if (done) return Progress::kDone;
    return moved ? Progress::kMoved : Progress::kStuck;
  });
}

Result<bool> MeshGroup::pull_into(Kind kind, Inbound& in) {
  bool moved = false;
  const int from = members_[static_cast<size_t>(in.member)];
  while (!in.done) {
    COHORT_TRY(const std::optional<InMessage> message, mesh_.pull(kind, from));
    if (!message) break;
    const size_t size = message->payload.size();
    const bool starved = size == 0 && !in.out.empty();
    if (message->total != in.out.size() || size > in.out.size() - in.offset || starved) {
      return mesh_.wrong_size(from, *message, in.out.size() - in.offset);
    }
    if (size > 0) std::memcpy(in.out.data() + in.offset, message->payload.data(), size);
    mesh_.release(from);
    in.offset += size;
    in.done = in.offset == in.out.size();
    moved = true;
  }
  return moved;
}

Result<void> MeshGroup::all_gather(std::span<const std::byte> part, std::span<const size_t> sizes,
                                   std::span<std::byte> all, Deadline deadline) {
  COHORT_CHECK(sizes.size() == members_.size());
  COHORT_CHECK(part.size() == sizes[static_cast<size_t>(rank_)]);
  COHORT_CHECK(std::accumulate(sizes.begin(), sizes.end(), size_t{0}) == all.size());
  std::vector<Inbound> ins;
  size_t offset = 0;
  for (int m = 0; m < size(); offset += sizes[static_cast<size_t>(m++)]) {
    const std::span<std::byte> place = all.subspan(offset, sizes[static_cast<size_t>(m)]);
    if (m != rank_) {
      ins.push_back({.member = m, .out = place});
    } else if (!part.empty()) {
      std::memmove(place.data(), part.data(), part.size());
    }
  }
  std::vector<Outbound> outs = to_others(part, kMaxMessageBytes);
  return exchange(Kind::kAllGather, outs, ins, deadline);
}

Result<void> MeshGroup::broadcast(int root, std::vector<std::byte>& bytes, Deadline deadline) {
  COHORT_CHECK(root >= 0 && root < size());
  if (rank_ != root) return receive_broadcast(root, bytes, deadline);
  COHORT_CHECK(bytes.size() <= kMaxBroadcastBytes);
  std::vector<Outbound> outs = to_others(bytes, kMaxMessageBytes);
  return exchange(Kind::kBroadcast, outs, {}, deadline);
}

Result<void> MeshGroup::receive_broadcast(int root, std::vector<std::byte>& bytes,
                                          Deadline deadline) {
  const int from = members_[static_cast<size_t>(root)];
  Inbound in{.member = root};
  return mesh_.run(Kind::kBroadcast, deadline, [&]() -> Result<Progress> {
    if (in.offset == 0) {  // the first message tells the size
      COHORT_TRY(const std::optional<InMessage> first, mesh_.pull(Kind::kBroadcast, from));
      if (!first) return Progress::kStuck;
      const bool starved = first->payload.empty() && first->total > 0;
      if (first->total > kMaxBroadcastBytes || starved) {
        return mesh_.wrong_size(from, *first, kMaxBroadcastBytes);
      }
      bytes.resize(first->total);
      std::copy(first->payload.begin(), first->payload.end(), bytes.begin());
      mesh_.release(from);
      in.out = bytes;
      in.offset = first->payload.size();
      in.done = in.offset == bytes.size();
      return in.done ? Progress::kDone : Progress::kMoved;
    }
    COHORT_TRY(const bool moved, pull_into(Kind::kBroadcast, in));
    if (in.done) return Progress::kDone;
    return moved ? Progress::kMoved : Progress::kStuck;
  });
}

Result<void> MeshGroup::send(int to, std::span<const std::byte> bytes, Deadline deadline) {
  COHORT_CHECK(to >= 0 && to < size() && to != rank_);
  Outbound out{.rank = members_[static_cast<size_t>(to)], .bytes = bytes};
  return exchange(Kind::kPoint, {&out, 1}, {}, deadline);
}

Result<void> MeshGroup::receive(int from, std::span<std::byte> out, Deadline deadline) {
  COHORT_CHECK(from >= 0 && from < size() && from != rank_);
  Inbound in{.member = from, .out = out};
  return exchange(Kind::kPoint, {}, {&in, 1}, deadline);
}

Result<void> MeshGroup::send_values(int to, std::span<const float> values, Deadline deadline) {
  return send(to, encoded(values), deadline);
}

Result<void> MeshGroup::receive_values(int from, std::span<float> out, Deadline deadline) {
  if (options_.wire == Wire::kF32) return receive(from, std::as_writable_bytes(out), deadline);
  const size_t size = wire_bytes(options_.wire, out.size());
  encoded_.resize(std::max(encoded_.size(), size));
  COHORT_TRY_VOID(receive(from, std::span(encoded_).first(size), deadline));
  decode(options_.wire, encoded_.data(), out);
  return {};
}

Result<void> MeshGroup::barrier(Deadline deadline) {
  std::vector<Outbound> outs = to_others({}, kMaxMessageBytes);
  std::vector<Inbound> ins;
  for (int m = 0; m < size(); ++m) {
    if (m != rank_) ins.push_back({.member = m});
  }
  return exchange(Kind::kBarrier, outs, ins, deadline);
}

// Seconds of some sums in a row on this rank. All of them, not the fastest: a rank that came last finds everything there.
Result<double> MeshGroup::time_sum(bool direct, std::span<float> values, Deadline deadline) {
  using Clock = std::chrono::steady_clock;
  constexpr int kRounds = 6;
  const auto run = [&] {
    Sum sum = make_sum(values, direct);
    return run_sum(sum, deadline);
  };
  COHORT_TRY_VOID(run());  // to warm up
  COHORT_TRY_VOID(barrier(deadline));
  const auto begin = Clock::now();
  for (int round = 0; round < kRounds; ++round) COHORT_TRY_VOID(run());
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// On all ranks together, so that all take the same way.
Result<bool> MeshGroup::direct_is_faster(std::span<float> values, Deadline deadline) {
  struct Seconds {
    double direct = 0, scattered = 0;
  };
  Seconds own;
  COHORT_TRY(own.direct, time_sum(true, values, deadline));
  COHORT_TRY(own.scattered, time_sum(false, values, deadline));
  std::vector<Seconds> all(members_.size());
  const std::vector<size_t> sizes(members_.size(), sizeof(Seconds));
  COHORT_TRY_VOID(all_gather(std::as_bytes(std::span(&own, 1)), sizes,
                             std::as_writable_bytes(std::span(all)), deadline));
  Seconds sum;
  for (const Seconds& one : all) {
    sum.direct += one.direct;
    sum.scattered += one.scattered;
  }
  return sum.direct <= sum.scattered;
}

Result<void> MeshGroup::tune(Deadline deadline) {
  constexpr size_t kLeastValues = 1024, kMostValues = 64 * 1024;
  if (size() <= 2) return {};
  std::vector<float> values(kMostValues);
  for (size_t count = kLeastValues; count <= kMostValues; count *= 2) {
    COHORT_TRY(const bool direct, direct_is_faster(std::span(values).first(count), deadline));
    two_steps_from_ = wire_bytes(options_.wire, direct ? 2 * count : count);
    if (!direct) break;
  }
  return {};
}

std::unique_ptr<Group> MeshGroup::subset(std::span<const int> ranks) {
  std::vector<int> members;
  for (int rank : ranks) {
    COHORT_CHECK(rank >= 0 && rank < size());
    members.push_back(members_[static_cast<size_t>(rank)]);
  }
  return std::make_unique<MeshGroup>(mesh_, std::move(members), options_);
}

}  // namespace

std::unique_ptr<Group> make_group(int rank, std::vector<std::unique_ptr<Link>> links,
                                  const GroupOptions& options) {
  std::vector<int> everyone(links.size());
  std::iota(everyone.begin(), everyone.end(), 0);
  auto mesh =
      std::make_unique<Mesh>(rank, std::move(links),
                             MeshOptions{.spin_time = options.spin_time, .cancel = options.cancel});
  auto group = std::make_unique<MeshGroup>(*mesh, std::move(everyone), options);
  group->own(std::move(mesh));
  return group;
}

}  // namespace cohort::transport
