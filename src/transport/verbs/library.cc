#include "transport/verbs/library.h"

#include <dlfcn.h>

#include "transport/verbs/system.h"

namespace cohort::transport {
namespace {

template <class Function>
bool find(void* handle, const char* name, Function& out) {
  out = reinterpret_cast<Function>(dlsym(handle, name));
  return out != nullptr;
}

Result<VerbsLibrary> load_library() {
  void* handle = dlopen(kVerbsLibraryName, RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr)
    return fail(Code::kUnsupported, "{} is not installed here", kVerbsLibraryName);
  VerbsLibrary library;
  // Without these, waits end by looking again after a while, and a device's failure shows late, and as a number.
  (void)find(handle, "ibv_get_async_event", library.get_async_event);
  (void)find(handle, "ibv_ack_async_event", library.ack_async_event);
  (void)find(handle, "ibv_create_comp_channel", library.create_comp_channel);
  (void)find(handle, "ibv_destroy_comp_channel", library.destroy_comp_channel);
  (void)find(handle, "ibv_get_cq_event", library.get_cq_event);
  (void)find(handle, "ibv_ack_cq_events", library.ack_cq_events);
  (void)find(handle, "ibv_wc_status_str", library.wc_status_str);
  const bool complete = find(handle, "ibv_get_device_list", library.get_device_list) &&
                        find(handle, "ibv_free_device_list", library.free_device_list) &&
                        find(handle, "ibv_get_device_name", library.get_device_name) &&
                        find(handle, "ibv_open_device", library.open_device) &&
                        find(handle, "ibv_close_device", library.close_device) &&
                        find(handle, "ibv_query_port", library.query_port) &&
                        find(handle, "ibv_query_gid", library.query_gid) &&
                        find(handle, "ibv_alloc_pd", library.alloc_pd) &&
                        find(handle, "ibv_dealloc_pd", library.dealloc_pd) &&
                        find(handle, "ibv_reg_mr", library.reg_mr) &&
                        find(handle, "ibv_dereg_mr", library.dereg_mr) &&
                        find(handle, "ibv_create_cq", library.create_cq) &&
                        find(handle, "ibv_destroy_cq", library.destroy_cq) &&
                        find(handle, "ibv_create_qp", library.create_qp) &&
                        find(handle, "ibv_modify_qp", library.modify_qp) &&
                        find(handle, "ibv_destroy_qp", library.destroy_qp);
  if (!complete) return fail(Code::kUnsupported, "{} is not the verbs library", kVerbsLibraryName);
  return library;
}

}  // namespace

Result<const VerbsLibrary*> verbs_library() {
  static const Result<VerbsLibrary> library = load_library();
  if (!library) return tl::unexpected(library.error());
  return &*library;
}

}  // namespace cohort::transport
