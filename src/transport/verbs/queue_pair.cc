#include "transport/verbs/queue_pair.h"

#include <fcntl.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>

#include "base/bytes.h"
#include "transport/cipher.h"
#include "transport/verbs/system.h"

namespace cohort::transport {
namespace {

constexpr uint32_t kOtherSends = kNoteSlots + 1;  // a ping
constexpr uint64_t kReceivedBit = uint64_t{1} << 32;
static_assert(kMaxWindow + kOtherSends <= 32, "the least that devices are known to take");

// RC: a lost packet is sent again after 4.096 us * 2^14 = 67 ms, six times (seven means without end to some drivers, as it
// does where no slot is posted); a peer that is not there fails within a second. A peer that is there but has no receive
// slot posted is waited for without end: its control link tells of death.
constexpr uint8_t kRetryTimeout = 14;
constexpr uint8_t kRetries = 6;
constexpr uint8_t kEndlessRetries = 7;
constexpr uint8_t kNotReadyTimer = 12;  // 0.64 ms
constexpr uint8_t kMaxHops = 64;
constexpr std::chrono::milliseconds kBetweenLooks{100};  // at the port: not all devices tell

tl::unexpected<Error> refused(const std::string& device, const char* what, int error) {
  return fail(Code::kUnavailable, "RDMA device {} refuses {}: {}", device, what, strerror(error));
}

ibv_mtu mtu_code(uint16_t bytes) {  // 256 is 1, 512 is 2...
  return static_cast<ibv_mtu>(std::bit_width(static_cast<unsigned>(bytes)) - 8);
}

}  // namespace

Result<std::unique_ptr<QueuePair>> QueuePair::make(const RdmaPort& port, const Wish& wish,
                                                   const FrameMemory& memory) {
  std::unique_ptr<QueuePair> made(new QueuePair(port, wish.reliable));
  COHORT_TRY(made->verbs_, verbs_library());
  COHORT_TRY(made->context_, open_rdma_device(port.device));
  COHORT_TRY_VOID(made->create(wish.rules, memory));
  return made;
}

Result<void> QueuePair::create(const VerbsRules& rules, const FrameMemory& frames) {
  const std::span<std::byte> memory = frames.all();
  const VerbsDelete owner{verbs_};
  fcntl(context_->async_fd, F_SETFL, fcntl(context_->async_fd, F_GETFL) | O_NONBLOCK);
  domain_ = {verbs_->alloc_pd(context_.get()), owner};
  if (!domain_) return refused(port_.device, "a protection domain", errno);
  int access = IBV_ACCESS_LOCAL_WRITE;
  if (rules.registers_for_remote) access |= IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_WRITE;
  region_ = {verbs_->reg_mr(domain_.get(), memory.data(), memory.size(), access), owner};
  if (!region_) {
    const int error = errno;
    return fail(Code::kUnavailable, "RDMA device {} cannot register {} of memory: {}. {}",
                port_.device, format_bytes(memory.size()), strerror(error), locked_memory_hint());
  }
  COHORT_TRY_VOID(create_queues(rules, frames.rules()));
  std::array<std::byte, 4> random;
  COHORT_TRY_VOID(fill_random(random));
  first_packet_ = load<uint32_t>(random.data()) & 0xffffff;

  ibv_qp_attr attributes{};
  attributes.qp_state = IBV_QPS_INIT;
  attributes.port_num = port_.port;
  attributes.qp_access_flags = static_cast<unsigned>(access);
  if (reliable_) attributes.qp_access_flags |= IBV_ACCESS_REMOTE_WRITE;  // of nothing: ping()
  return modify(attributes, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS,
                "INIT");
}

Result<void> QueuePair::create_queues(const VerbsRules& rules, const FrameRules& frames) {
  const VerbsDelete owner{verbs_};
  const uint32_t sends = frames.window + kOtherSends, receives = frames.receive_slots();
  if (rules.has_events && verbs_->create_comp_channel != nullptr)
    channel_ = {verbs_->create_comp_channel(context_.get()), owner};
  if (channel_) fcntl(channel_->fd, F_SETFL, fcntl(channel_->fd, F_GETFL) | O_NONBLOCK);
  completions_ = {verbs_->create_cq(context_.get(), static_cast<int>(sends + receives), nullptr,
                                    channel_.get(), 0),
                  owner};
  if (!completions_) return refused(port_.device, "a completion queue", errno);
  ibv_qp_init_attr wanted{};
  wanted.send_cq = wanted.recv_cq = completions_.get();
  wanted.cap.max_send_wr = sends;
  wanted.cap.max_recv_wr = receives;
  wanted.cap.max_send_sge = wanted.cap.max_recv_sge = 1;
  wanted.qp_type = reliable_ ? IBV_QPT_RC : IBV_QPT_UC;
  wanted.sq_sig_all = 1;
  pair_ = {verbs_->create_qp(domain_.get(), &wanted), owner};
  return pair_ ? Result<void>() : refused(port_.device, "a queue pair", errno);
}

Result<void> QueuePair::modify(ibv_qp_attr& attributes, int mask, const char* state) {
  const int error = verbs_->modify_qp(pair_.get(), &attributes, mask);
  return error == 0 ? Result<void>() : refused(port_.device, state, error);
}

RailAddress QueuePair::address() const {
  return {.queue_pair = pair_->qp_num,
          .first_packet = first_packet_,
          .lid = port_.lid,
          .mtu_bytes = port_.mtu_bytes,
          .reliable = reliable_,
          .gid = port_.gid};
}

Result<void> QueuePair::connect(const RailAddress& peer) {
  ibv_qp_attr ready{};
  ready.qp_state = IBV_QPS_RTR;
  ready.path_mtu = mtu_code(std::min(port_.mtu_bytes, peer.mtu_bytes));
  ready.dest_qp_num = peer.queue_pair;
  ready.rq_psn = peer.first_packet;
  ready.ah_attr.dlid = static_cast<uint16_t>(peer.lid);
  ready.ah_attr.is_global = 1;
  std::memcpy(ready.ah_attr.grh.dgid.raw, peer.gid.data(), peer.gid.size());
  ready.ah_attr.grh.sgid_index = static_cast<uint8_t>(port_.gid_index);
  ready.ah_attr.grh.hop_limit = kMaxHops;
  ready.ah_attr.port_num = port_.port;
  ready.max_dest_rd_atomic = 1;
  ready.min_rnr_timer = kNotReadyTimer;
  int mask = IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN;
  if (reliable_) mask |= IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER;
  COHORT_TRY_VOID(modify(ready, mask, "RTR"));

  ibv_qp_attr sending{};
  sending.qp_state = IBV_QPS_RTS;
  sending.sq_psn = first_packet_;
  sending.timeout = kRetryTimeout;
  sending.retry_cnt = kRetries;
  sending.rnr_retry = kEndlessRetries;
  sending.max_rd_atomic = 1;
  mask = IBV_QP_STATE | IBV_QP_SQ_PSN;
  if (reliable_)
    mask |= IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_MAX_QP_RD_ATOMIC;
  return modify(sending, mask, "RTS");
}

Result<void> QueuePair::send(uint32_t id, std::span<const std::byte> frame) {
  ibv_sge piece{.addr = reinterpret_cast<uint64_t>(frame.data()),
                .length = static_cast<uint32_t>(frame.size()),
                .lkey = region_->lkey};
  ibv_send_wr request{}, *refused_one = nullptr;
  request.wr_id = id;
  request.sg_list = &piece;
  request.num_sge = 1;
  request.opcode = IBV_WR_SEND;
  request.send_flags = IBV_SEND_SIGNALED;
  const int error = ibv_post_send(pair_.get(), &request, &refused_one);
  return error == 0 ? Result<void>() : refused(port_.device, "to send", error);
}

// A write of no bytes needs no memory, and no receive slot: the other device answers it, whatever its process does.
Result<void> QueuePair::ping(uint32_t id) {
  ibv_send_wr request{}, *refused_one = nullptr;
  request.wr_id = id;
  request.opcode = IBV_WR_RDMA_WRITE;
  request.send_flags = IBV_SEND_SIGNALED;
  const int error = ibv_post_send(pair_.get(), &request, &refused_one);
  return error == 0 ? Result<void>() : refused(port_.device, "to write", error);
}

Result<void> QueuePair::receive(uint32_t id, std::span<std::byte> slot) {
  ibv_sge piece{.addr = reinterpret_cast<uint64_t>(slot.data()),
                .length = static_cast<uint32_t>(slot.size()),
                .lkey = region_->lkey};
  ibv_recv_wr request{}, *refused_one = nullptr;
  request.wr_id = id | kReceivedBit;
  request.sg_list = &piece;
  request.num_sge = 1;
  const int error = ibv_post_recv(pair_.get(), &request, &refused_one);
  return error == 0 ? Result<void>() : refused(port_.device, "to receive", error);
}

Result<std::optional<FramePort::Completion>> QueuePair::poll() {
  ibv_wc done{};
  int count = 1;
  if (next_) {
    done = *std::exchange(next_, std::nullopt);
  } else {
    count = ibv_poll_cq(completions_.get(), 1, &done);
  }
  if (count == 0) return std::nullopt;
  if (count < 0) return fail(Code::kUnavailable, "RDMA device {} has failed", port_.device);
  if (done.status == IBV_WC_RETRY_EXC_ERR)
    return fail(Code::kUnavailable, "does not answer over RDMA any more");
  if (done.status != IBV_WC_SUCCESS) {
    return fail(Code::kUnavailable, "RDMA device {} fails: {}", port_.device,
                verbs_->wc_status_str != nullptr ? verbs_->wc_status_str(done.status)
                                                 : std::to_string(done.status).c_str());
  }
  return Completion{.received = (done.wr_id & kReceivedBit) != 0,
                    .id = static_cast<uint32_t>(done.wr_id),
                    .size = done.byte_len};
}

// What completed before the request for an event rings no bell.
bool QueuePair::arm_events() {
  if (!channel_) return !next_;
  if (!next_) (void)ibv_req_notify_cq(completions_.get(), 0);
  ibv_wc done{};
  if (!next_ && ibv_poll_cq(completions_.get(), 1, &done) > 0) next_ = done;
  return !next_;
}

void QueuePair::drain_events() {
  if (!channel_) return;
  ibv_cq* queue = nullptr;
  void* unused = nullptr;
  unsigned count = 0;
  while (verbs_->get_cq_event(channel_.get(), &queue, &unused) == 0) ++count;
  if (count > 0) verbs_->ack_cq_events(completions_.get(), count);
}

Result<void> QueuePair::check() {
  COHORT_TRY_VOID(take_events());
  const auto now = std::chrono::steady_clock::now();
  if (now - looked_ < kBetweenLooks) return {};
  looked_ = now;
  ibv_port_attr attributes{};
  const bool works = verbs_->query_port(context_.get(), port_.port, &attributes) == 0 &&
                     attributes.state == IBV_PORT_ACTIVE;
  return works ? Result<void>() : port_is_down();
}

tl::unexpected<Error> QueuePair::port_is_down() const {
  return fail(Code::kUnavailable, "the port of RDMA device {} went down", port_.device);
}

Result<void> QueuePair::take_events() {
  if (verbs_->get_async_event == nullptr) return {};
  ibv_async_event event{};
  while (verbs_->get_async_event(context_.get(), &event) == 0) {
    const ibv_event_type type = event.event_type;
    verbs_->ack_async_event(&event);
    switch (type) {
      case IBV_EVENT_DEVICE_FATAL:
        return fail(Code::kUnavailable, "RDMA device {} is gone", port_.device);
      case IBV_EVENT_PORT_ERR: return port_is_down();
      case IBV_EVENT_QP_FATAL:
      case IBV_EVENT_CQ_ERR:
        return fail(Code::kUnavailable, "RDMA device {} gave up a queue", port_.device);
      default: break;
    }
  }
  return {};
}

}  // namespace cohort::transport
