#include "transport/ucx/ucx_port.h"

#include <chrono>

namespace cohort::transport {
namespace {

constexpr ucp_tag_t kTag = 1;
constexpr ucp_tag_t kAnyTag = 0;  // no bit of it matters
constexpr std::chrono::milliseconds kLongestFlush{100};

}  // namespace

Result<void> UcxPort::expect(ucs_status_t status, const char* what) const {
  if (status == UCS_OK) return {};
  return fail(Code::kUnavailable, "UCX refuses {}: {}", what, ucx_->status_string(status));
}

Result<std::unique_ptr<UcxPort>> UcxPort::make(std::span<std::byte> memory) {
  std::unique_ptr<UcxPort> port(new UcxPort());
  COHORT_TRY(port->ucx_, ucx_library());
  COHORT_TRY_VOID(port->create(memory));
  return port;
}

Result<void> UcxPort::create(std::span<std::byte> memory) {
  for (uint32_t id = 0; id < sends_.size(); ++id) sends_[id] = {this, id};
  for (uint32_t id = 0; id < receives_.size(); ++id) receives_[id] = {this, id};
  ucp_config_t* config = nullptr;
  COHORT_TRY_VOID(expect(ucx_->config_read(nullptr, nullptr, &config), "its configuration"));
  ucp_params_t wanted{};
  wanted.field_mask = UCP_PARAM_FIELD_FEATURES;
  wanted.features = UCP_FEATURE_TAG | UCP_FEATURE_WAKEUP;
  const ucs_status_t begun =
      ucx_->init_version(UCP_API_MAJOR, UCP_API_MINOR, &wanted, config, &context_);
  ucx_->config_release(config);
  COHORT_TRY_VOID(expect(begun, "a context"));
  ucp_mem_map_params_t region{};
  region.field_mask = UCP_MEM_MAP_PARAM_FIELD_ADDRESS | UCP_MEM_MAP_PARAM_FIELD_LENGTH;
  region.address = memory.data();
  region.length = memory.size();
  COHORT_TRY_VOID(expect(ucx_->mem_map(context_, &region, &region_), "to register memory"));
  ucp_worker_params_t worker{};
  worker.field_mask = UCP_WORKER_PARAM_FIELD_THREAD_MODE;
  worker.thread_mode = UCS_THREAD_MODE_SERIALIZED;
  COHORT_TRY_VOID(expect(ucx_->worker_create(context_, &worker, &worker_), "a worker"));
  if (ucx_->worker_get_efd(worker_, &event_fd_) != UCS_OK) event_fd_ = -1;
  return {};
}

UcxPort::~UcxPort() {
  if (endpoint_ != nullptr) {
    ucp_request_param_t flush{};
    if (failure_ != UCS_OK || sending_ > 0) {
      flush.op_attr_mask = UCP_OP_ATTR_FIELD_FLAGS;
      flush.flags = UCP_EP_CLOSE_FLAG_FORCE;
    }
    ucs_status_ptr_t closing = ucx_->ep_close_nbx(endpoint_, &flush);
    const auto end = std::chrono::steady_clock::now() + kLongestFlush;
    while (UCS_PTR_IS_PTR(closing) && std::chrono::steady_clock::now() < end &&
           ucx_->request_check_status(closing) == UCS_INPROGRESS) {
      ucx_->worker_progress(worker_);
    }
    if (UCS_PTR_IS_PTR(closing)) ucx_->request_free(closing);
  }
  if (worker_ != nullptr) ucx_->worker_destroy(worker_);
  if (region_ != nullptr) ucx_->mem_unmap(context_, region_);
  if (context_ != nullptr) ucx_->cleanup(context_);
}

Result<std::string> UcxPort::address() const {
  ucp_address_t* bytes = nullptr;
  size_t size = 0;
  COHORT_TRY_VOID(expect(ucx_->worker_get_address(worker_, &bytes, &size), "its address"));
  std::string address(reinterpret_cast<const char*>(bytes), size);
  ucx_->worker_release_address(worker_, bytes);
  return address;
}

Result<void> UcxPort::connect(std::string_view peer) {
  ucp_ep_params_t wanted{};
  wanted.field_mask = UCP_EP_PARAM_FIELD_REMOTE_ADDRESS;
  wanted.address = reinterpret_cast<const ucp_address_t*>(peer.data());
  return expect(ucx_->ep_create(worker_, &wanted, &endpoint_), "the way to the peer");
}

ucp_request_param_t UcxPort::parameters(Request& request) const {
  ucp_request_param_t param{};
  param.op_attr_mask =
      UCP_OP_ATTR_FIELD_CALLBACK | UCP_OP_ATTR_FIELD_USER_DATA | UCP_OP_ATTR_FIELD_MEMH;
  param.user_data = &request;
  param.memh = region_;
  return param;
}

Result<void> UcxPort::send(uint32_t id, std::span<const std::byte> frame) {
  ucp_request_param_t param = parameters(sends_[id]);
  param.cb.send = on_sent;
  const ucs_status_ptr_t sent =
      ucx_->tag_send_nbx(endpoint_, frame.data(), frame.size(), kTag, &param);
  if (sent == nullptr) finish(UCS_OK, {.received = false, .id = id});
  if (UCS_PTR_IS_PTR(sent)) ++sending_;
  return UCS_PTR_IS_ERR(sent) ? expect(UCS_PTR_STATUS(sent), "to send") : Result<void>();
}

Result<void> UcxPort::receive(uint32_t id, std::span<std::byte> slot) {
  ucp_tag_recv_info_t info{};
  ucp_request_param_t param = parameters(receives_[id]);
  param.op_attr_mask |= UCP_OP_ATTR_FIELD_RECV_INFO;
  param.cb.recv = on_received;
  param.recv_info.tag_info = &info;
  const ucs_status_ptr_t posted =
      ucx_->tag_recv_nbx(worker_, slot.data(), slot.size(), kTag, kAnyTag, &param);
  if (posted == nullptr) finish(UCS_OK, {.received = true, .id = id, .size = info.length});
  return UCS_PTR_IS_ERR(posted) ? expect(UCS_PTR_STATUS(posted), "to receive") : Result<void>();
}

void UcxPort::finish(ucs_status_t status, const Completion& completion) {
  if (status == UCS_OK) {
    done_.push_back(completion);
  } else if (failure_ == UCS_OK && status != UCS_ERR_CANCELED) {
    failure_ = status;
  }
}

void UcxPort::on_sent(void* request, ucs_status_t status, void* user) {
  const auto& ours = *static_cast<Request*>(user);
  --ours.port->sending_;
  ours.port->finish(status, {.received = false, .id = ours.id});
  ours.port->ucx_->request_free(request);
}

void UcxPort::on_received(void* request, ucs_status_t status, const ucp_tag_recv_info_t* info,
                          void* user) {
  const auto& ours = *static_cast<Request*>(user);
  ours.port->finish(status, {.received = true, .id = ours.id, .size = info->length});
  ours.port->ucx_->request_free(request);
}

Result<std::optional<FramePort::Completion>> UcxPort::poll() {
  if (done_.empty()) {
    ucx_->worker_progress(worker_);
    if (done_.empty()) {
      COHORT_TRY_VOID(check());
      return std::nullopt;
    }
  }
  const Completion first = done_.front();
  done_.pop_front();
  return first;
}

bool UcxPort::arm_events() {
  return done_.empty() && (event_fd_ < 0 || ucx_->worker_arm(worker_) == UCS_OK);
}

Result<void> UcxPort::check() {
  if (failure_ == UCS_OK) return {};
  return fail(Code::kUnavailable, "UCX fails: {}", ucx_->status_string(failure_));
}

}  // namespace cohort::transport
