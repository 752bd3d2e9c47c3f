// Where there is no header of UCX.
#include "transport/ucx/ucx.h"

namespace cohort::transport {

bool has_ucx() { return false; }

Result<std::unique_ptr<Link>> open_ucx_between(Meeting&) {
  return fail(Code::kUnsupported, "this build has no UCX");
}

}  // namespace cohort::transport
