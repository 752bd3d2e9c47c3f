// A queue pair of a device with its completion queue: RC where the device has it and it is wanted, else UC.
#pragma once

#include <chrono>
#include <memory>
#include <span>

#include "transport/verbs/context.h"
#include "transport/verbs/device.h"
#include "transport/frames/frame_memory.h"
#include "transport/frames/frame_port.h"
#include "transport/verbs/rail_address.h"
#include "transport/verbs/verbs_rules.h"

namespace cohort::transport {

class QueuePair final : public FramePort {
 public:
  struct Wish {
    bool reliable = true;
    VerbsRules rules;
  };
  // `memory` holds all frames, outlives the queue pair and is registered with it. kUnavailable says what the system
  // refuses, and what to do.
  static Result<std::unique_ptr<QueuePair>> make(const RdmaPort& port, const Wish& wish,
                                                 const FrameMemory& memory);

  RailAddress address() const;
  // After which the two can send; receives may be posted before.
  Result<void> connect(const RailAddress& peer);

  bool is_reliable() const override { return reliable_; }
  bool works_alone() const override { return reliable_; }
  Result<void> send(uint32_t id, std::span<const std::byte> frame) override;
  Result<void> receive(uint32_t id, std::span<std::byte> slot) override;
  Result<void> ping(uint32_t id) override;
  Result<std::optional<Completion>> poll() override;

  int event_fd() const override { return channel_ ? channel_->fd : -1; }
  bool arm_events() override;
  void drain_events() override;
  Result<void> check() override;

 private:
  QueuePair(const RdmaPort& port, bool reliable) : port_(port), reliable_(reliable) {}
  Result<void> create(const VerbsRules& rules, const FrameMemory& memory);
  Result<void> create_queues(const VerbsRules& rules, const FrameRules& frames);
  Result<void> take_events();
  tl::unexpected<Error> port_is_down() const;
  Result<void> modify(ibv_qp_attr& attributes, int mask, const char* state);

  const VerbsLibrary* verbs_ = nullptr;
  RdmaPort port_;
  bool reliable_;
  uint32_t first_packet_ = 0;
  std::chrono::steady_clock::time_point looked_;  // at the port
  std::optional<ibv_wc> next_;                    // came while events were armed
  VerbsOwner<ibv_context> context_;
  VerbsOwner<ibv_pd> domain_;
  VerbsOwner<ibv_mr> region_;
  VerbsOwner<ibv_comp_channel> channel_;
  VerbsOwner<ibv_cq> completions_;
  VerbsOwner<ibv_qp> pair_;
};

}  // namespace cohort::transport
