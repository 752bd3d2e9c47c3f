// Collectives between the ranks of an instance. Every rank calls the same operations in the same order with the same
// sizes; one thread each.
//
// Every operation ends: done, or with an error that names a peer and a cause. After an error the group is dead on all
// ranks (each learns of it within a second: from the closed links at once, or when it next looks after its peers, every
// millisecond while it spins and every 100 ms while it sleeps) and every later call returns the same error:
//   kUnavailable  a peer died, left or gave up    kTimeout    the deadline passed
//   kDataLoss     a peer sent something else      kCancelled  GroupOptions::cancel was set
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "transport/deadline.h"
#include "transport/link.h"
#include "transport/wire.h"

namespace cohort::transport {

class Group {
 public:
  static constexpr size_t kMaxBroadcastBytes = size_t{256} << 20;

  virtual ~Group() = default;  // leaves in good order
  virtual int rank() const = 0;
  virtual int size() const = 0;

  // values[i] becomes the sum of all ranks' values[i], added in rank order, with the same bits on every rank. What is
  // added is what the group's wire type makes of each rank's values.
  virtual Result<void> all_sum(std::span<float> values, Deadline deadline) = 0;

  // The same in two halves, so that the values travel while this rank computes. begin_sum() hands the links what they take
  // at once and go_on() what they take meanwhile, both without waiting; finish_sum() does the rest. `values` are the
  // group's in between, and no other operation may come there. An error is returned again by finish_sum().
  virtual Result<void> begin_sum(std::span<float> values) = 0;
  virtual Result<void> go_on() = 0;
  virtual Result<void> finish_sum(Deadline deadline) = 0;

  // `all` becomes the ranks' parts one after the other. sizes[r] is the size of rank r's part, in bytes; they may
  // differ and be zero. `part` may be its own place in `all`, else it lies outside.
  virtual Result<void> all_gather(std::span<const std::byte> part, std::span<const size_t> sizes,
                                  std::span<std::byte> all, Deadline deadline) = 0;

  // `bytes` of `root`, at most kMaxBroadcastBytes, replaces `bytes` of the others.
  virtual Result<void> broadcast(int root, std::vector<std::byte>& bytes, Deadline deadline) = 0;

  // Between two ranks; others are not involved. send() returns when the link has taken the bytes, which may be before
  // the other side asks for them. receive() wants exactly out.size() bytes.
  virtual Result<void> send(int to, std::span<const std::byte> bytes, Deadline deadline) = 0;
  virtual Result<void> receive(int from, std::span<std::byte> out, Deadline deadline) = 0;

  // The same of floats, which arrive as the group's wire type makes them.
  virtual Result<void> send_values(int to, std::span<const float> values, Deadline deadline) = 0;
  virtual Result<void> receive_values(int from, std::span<float> out, Deadline deadline) = 0;

  virtual Result<void> barrier(Deadline deadline) = 0;

  // Times all_sum()'s two ways over these links, together with all other ranks, and takes the faster for each size from
  // now on: at once (each rank to all others) or in two steps (a share each, then the shares). Some milliseconds on a
  // gigabit; nothing for two ranks, for whom there is one way. Not of subsets.
  virtual Result<void> tune(Deadline deadline) = 0;

  // Looks after the peers without waiting for anything: for who has nothing to say for a while.
  virtual Result<void> check() = 0;

  // Ends the group on all ranks; theirs fail with kUnavailable and `reason`.
  virtual void abort(std::string_view reason) = 0;

  // (*work)() is called again and again while an operation waits, on its thread, between two looks at the links: so it
  // takes less than a message does. For all groups over the same links, until it is replaced; null: nothing.
  virtual void set_idle_work(const std::function<void()>* work) = 0;

  // Some of the ranks as a group of their own, over the same links: its rank i is ranks[i], and this rank is one of
  // them. An error in either ends both. Must not outlive this group.
  virtual std::unique_ptr<Group> subset(std::span<const int> ranks) = 0;
};

struct GroupOptions {
  Wire wire = Wire::kF32;  // of floats
  std::chrono::microseconds spin_time{
      2000};  // a wait spins so long before it sleeps, if the core is its own
  size_t bytes_per_latency =
      32 * 1024;  // what a link moves in the time of one trip; for groups that are not tuned
  const std::atomic<bool>* cancel = nullptr;  // may be set by another thread to end waits
};

// links[r] leads to rank r and links[rank] is null; all of them open. {nullptr} makes a group of one, whose operations
// do nothing.
std::unique_ptr<Group> make_group(int rank, std::vector<std::unique_ptr<Link>> links,
                                  const GroupOptions& options = {});

}  // namespace cohort::transport
