#include "transport/verbs/library.h"

#include <dlfcn.h>

#include "transport/find_symbol.h"
#include "transport/verbs/system.h"

namespace cohort::transport {
namespace {

Result<VerbsLibrary> load_library() {
  void* handle = dlopen(kVerbsLibraryName, RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr)
    return fail(Code::kUnsupported, "{} is not installed here", kVerbsLibraryName);
  VerbsLibrary library;
  // Without these, waits end by looking again after a while, and a device's failure shows late, and as a number.
  (void)find_symbol(handle, "ibv_get_async_event", library.get_async_event);
  (void)find_symbol(handle, "ibv_ack_async_event", library.ack_async_event);
  (void)find_symbol(handle, "ibv_create_comp_channel", library.create_comp_channel);
  (void)find_symbol(handle, "ibv_destroy_comp_channel", library.destroy_comp_channel);
  (void)find_symbol(handle, "ibv_get_cq_event", library.get_cq_event);
  (void)find_symbol(handle, "ibv_ack_cq_events", library.ack_cq_events);
  (void)find_symbol(handle, "ibv_wc_status_str", library.wc_status_str);
  const bool complete = find_symbol(handle, "ibv_get_device_list", library.get_device_list) &&
                        find_symbol(handle, "ibv_free_device_list", library.free_device_list) &&
                        find_symbol(handle, "ibv_get_device_name", library.get_device_name) &&
                        find_symbol(handle, "ibv_open_device", library.open_device) &&
                        find_symbol(handle, "ibv_close_device", library.close_device) &&
                        find_symbol(handle, "ibv_query_port", library.query_port) &&
                        find_symbol(handle, "ibv_query_gid", library.query_gid) &&
                        find_symbol(handle, "ibv_alloc_pd", library.alloc_pd) &&
                        find_symbol(handle, "ibv_dealloc_pd", library.dealloc_pd) &&
                        find_symbol(handle, "ibv_reg_mr", library.reg_mr) &&
                        find_symbol(handle, "ibv_dereg_mr", library.dereg_mr) &&
                        find_symbol(handle, "ibv_create_cq", library.create_cq) &&
                        find_symbol(handle, "ibv_destroy_cq", library.destroy_cq) &&
                        find_symbol(handle, "ibv_create_qp", library.create_qp) &&
                        find_symbol(handle, "ibv_modify_qp", library.modify_qp) &&
                        find_symbol(handle, "ibv_destroy_qp", library.destroy_qp);
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
