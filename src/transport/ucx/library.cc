#include "transport/ucx/library.h"

#include <dlfcn.h>

#include <cstdlib>

#include "transport/find_symbol.h"

namespace cohort::transport {
namespace {

constexpr const char* kName = "libucp.so.0";

// UCX reads these as it is loaded. Our process is not its own: no signal handlers, no hooks on mmap, no words on stderr.
void set_manners() {
  constexpr int kKeepTheUsers = 0;
  setenv("UCX_HANDLE_ERRORS", "none", kKeepTheUsers);
  setenv("UCX_ERROR_SIGNALS", "", kKeepTheUsers);
  setenv("UCX_MEM_EVENTS", "n", kKeepTheUsers);
  setenv("UCX_LOG_LEVEL", "fatal", kKeepTheUsers);
  setenv("UCX_WARN_UNUSED_ENV_VARS", "n", kKeepTheUsers);
  // It reads off the completion of a packet whether that came by IPv4 or IPv6, which only Mellanox's devices tell there;
  // with others it drops all that comes by IPv4, and sets up no queue pair.
  setenv("UCX_UD_VERBS_ETH_DGID_CHECK", "n", kKeepTheUsers);
}

Result<UcxLibrary> load_library() {
  set_manners();
  void* handle = dlopen(kName, RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) return fail(Code::kUnsupported, "{} is not installed here", kName);
  UcxLibrary ucx;
  const bool complete =
      find_symbol(handle, "ucp_config_read", ucx.config_read) &&
      find_symbol(handle, "ucp_config_release", ucx.config_release) &&
      find_symbol(handle, "ucp_init_version", ucx.init_version) &&
      find_symbol(handle, "ucp_cleanup", ucx.cleanup) &&
      find_symbol(handle, "ucp_worker_create", ucx.worker_create) &&
      find_symbol(handle, "ucp_worker_destroy", ucx.worker_destroy) &&
      find_symbol(handle, "ucp_worker_get_address", ucx.worker_get_address) &&
      find_symbol(handle, "ucp_worker_release_address", ucx.worker_release_address) &&
      find_symbol(handle, "ucp_worker_get_efd", ucx.worker_get_efd) &&
      find_symbol(handle, "ucp_worker_arm", ucx.worker_arm) &&
      find_symbol(handle, "ucp_worker_progress", ucx.worker_progress) &&
      find_symbol(handle, "ucp_ep_create", ucx.ep_create) &&
      find_symbol(handle, "ucp_ep_close_nbx", ucx.ep_close_nbx) &&
      find_symbol(handle, "ucp_tag_send_nbx", ucx.tag_send_nbx) &&
      find_symbol(handle, "ucp_tag_recv_nbx", ucx.tag_recv_nbx) &&
      find_symbol(handle, "ucp_request_check_status", ucx.request_check_status) &&
      find_symbol(handle, "ucp_request_free", ucx.request_free) &&
      find_symbol(handle, "ucp_mem_map", ucx.mem_map) &&
      find_symbol(handle, "ucp_mem_unmap", ucx.mem_unmap) &&
      find_symbol(handle, "ucs_status_string", ucx.status_string);
  if (!complete) return fail(Code::kUnsupported, "{} is older than UCX 1.11", kName);
  return ucx;
}

}  // namespace

Result<const UcxLibrary*> ucx_library() {
  static const Result<UcxLibrary> library = load_library();
  if (!library) return tl::unexpected(library.error());
  return &*library;
}

}  // namespace cohort::transport
