// Owners of what the verbs library hands out.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "transport/verbs/library.h"

namespace cohort::transport {

struct VerbsDelete {
  const VerbsLibrary* verbs = nullptr;
  void operator()(ibv_context* p) const { verbs->close_device(p); }
  void operator()(ibv_pd* p) const { verbs->dealloc_pd(p); }
  void operator()(ibv_mr* p) const { verbs->dereg_mr(p); }
  void operator()(ibv_comp_channel* p) const { verbs->destroy_comp_channel(p); }
  void operator()(ibv_cq* p) const { verbs->destroy_cq(p); }
  void operator()(ibv_qp* p) const { verbs->destroy_qp(p); }
};
template <class T>
using VerbsOwner = std::unique_ptr<T, VerbsDelete>;

// Of a device by name. kUnavailable: it is not there, or may not be opened.
Result<VerbsOwner<ibv_context>> open_rdma_device(const std::string& name);

}  // namespace cohort::transport
