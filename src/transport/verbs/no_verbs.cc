// Where there is no header of the verbs library.
#include "transport/verbs/verbs.h"

namespace cohort::transport {
namespace {

constexpr const char* kWhy = "this build has no RDMA";

}  // namespace

bool RdmaPort::has_ipv4() const { return false; }
std::string RdmaPort::address() const { return ""; }
Result<std::vector<RdmaPort>> rdma_ports() { return fail(Code::kUnsupported, "{}", kWhy); }
RdmaFacts rdma_facts() { return {}; }
bool has_usable_rdma_port() { return false; }

Result<std::unique_ptr<Link>> open_verbs_link(Meeting&, const VerbsOptions&) {
  return fail(Code::kUnsupported, "{}", kWhy);
}
Result<std::unique_ptr<Link>> open_verbs_between(Meeting&) {
  return fail(Code::kUnsupported, "{}", kWhy);
}
Result<std::unique_ptr<Link>> open_unreliable_verbs_between(Meeting&) {
  return fail(Code::kUnsupported, "{}", kWhy);
}
Result<std::unique_ptr<Link>> open_apple_verbs_between(Meeting&) {
  return fail(Code::kUnsupported, "{}", kWhy);
}

}  // namespace cohort::transport
