#include "transport/ucx/library.h"

#include <dlfcn.h>

#include <cstdlib>

namespace cohort::transport {
namespace {

constexpr const char* kName = "libucp.so.0";

template <class Function>
bool find(void* handle, const char* name, Function& out) {
  out = reinterpret_cast<Function>(dlsym(handle, name));
  return out != nullptr;
}

// UCX reads these as it is loaded. Our process is not its own: no signal handlers, no hooks on mmap, no words on stderr.
void set_manners() {
  constexpr int kKeepTheUsers = 0;
  setenv("UCX_HANDLE_ERRORS", "none", kKeepTheUsers);
  setenv("UCX_ERROR_SIGNALS", "", kKeepTheUsers);
  setenv("UCX_MEM_EVENTS", "n", kKeepTheUsers);
  setenv("UCX_LOG_LEVEL", "fatal", kKeepTheUsers);
  setenv("UCX_WARN_UNUSED_ENV_VARS", "n", kKeepTheUsers);
}

Result<UcxLibrary> load_library() {
  set_manners();
  void* handle = dlopen(kName, RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) return fail(Code::kUnsupported, "{} is not installed here", kName);
  UcxLibrary ucx;
  const bool complete = find(handle, "ucp_config_read", ucx.config_read) &&
                        find(handle, "ucp_config_release", ucx.config_release) &&
                        find(handle, "ucp_init_version", ucx.init_version) &&
                        find(handle, "ucp_cleanup", ucx.cleanup) &&
                        find(handle, "ucp_worker_create", ucx.worker_create) &&
                        find(handle, "ucp_worker_destroy", ucx.worker_destroy) &&
                        find(handle, "ucp_worker_get_address", ucx.worker_get_address) &&
                        find(handle, "ucp_worker_release_address", ucx.worker_release_address) &&
                        find(handle, "ucp_worker_get_efd", ucx.worker_get_efd) &&
                        find(handle, "ucp_worker_arm", ucx.worker_arm) &&
                        find(handle, "ucp_worker_progress", ucx.worker_progress) &&
                        find(handle, "ucp_ep_create", ucx.ep_create) &&
                        find(handle, "ucp_ep_close_nbx", ucx.ep_close_nbx) &&
                        find(handle, "ucp_tag_send_nbx", ucx.tag_send_nbx) &&
                        find(handle, "ucp_tag_recv_nbx", ucx.tag_recv_nbx) &&
                        find(handle, "ucp_request_check_status", ucx.request_check_status) &&
                        find(handle, "ucp_request_free", ucx.request_free) &&
                        find(handle, "ucp_mem_map", ucx.mem_map) &&
                        find(handle, "ucp_mem_unmap", ucx.mem_unmap) &&
                        find(handle, "ucs_status_string", ucx.status_string);
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
