// Frames as tagged messages between two workers of UCX.
#pragma once

#include <array>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "transport/frames/frame_memory.h"
#include "transport/frames/frame_port.h"
#include "transport/ucx/library.h"

namespace cohort::transport {

class UcxPort final : public FramePort {
 public:
  // `memory` holds all frames, outlives the port and is registered with it.
  static Result<std::unique_ptr<UcxPort>> make(std::span<std::byte> memory);
  ~UcxPort() override;
  UcxPort(const UcxPort&) = delete;
  UcxPort& operator=(const UcxPort&) = delete;

  Result<std::string> address() const;  // for connect() at the other end
  Result<void> connect(std::string_view peer);

  bool is_reliable() const override { return true; }
  bool works_alone() const override { return false; }
  Result<void> send(uint32_t id, std::span<const std::byte> frame) override;
  Result<void> receive(uint32_t id, std::span<std::byte> slot) override;
  Result<void> ping(uint32_t) override { return {}; }  // it does not work alone
  Result<std::optional<Completion>> poll() override;
  int event_fd() const override { return event_fd_; }
  bool arm_events() override;
  void drain_events() override {}  // progress does
  Result<void> check() override;

 private:
  // What a request's callback gets.
  struct Request {
    UcxPort* port = nullptr;
    uint32_t id = 0;
  };

  UcxPort() = default;
  Result<void> create(std::span<std::byte> memory);
  Result<void> expect(ucs_status_t status, const char* what) const;
  ucp_request_param_t parameters(Request& request) const;
  void finish(ucs_status_t status, const Completion& completion);
  static void on_sent(void* request, ucs_status_t status, void* user);
  static void on_received(void* request, ucs_status_t status, const ucp_tag_recv_info_t* info,
                          void* user);

  const UcxLibrary* ucx_ = nullptr;
  ucp_context_h context_ = nullptr;
  ucp_mem_h region_ = nullptr;
  ucp_worker_h worker_ = nullptr;
  ucp_ep_h endpoint_ = nullptr;
  int event_fd_ = -1;
  ucs_status_t failure_ = UCS_OK;
  int sending_ = 0;  // requests under way
  std::array<Request, kMaxWindow + kNoteSlots> sends_;
  std::array<Request, kMaxWindow + kNoteSlots> receives_;
  std::deque<Completion> done_;
};

}  // namespace cohort::transport
