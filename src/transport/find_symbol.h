// Symbols of libraries that are loaded at run time.
#pragma once

#include <dlfcn.h>

namespace cohort::transport {

// False, and a null `out`, when the library behind `handle`, of dlopen(3), has no such function.
template <class Function>
bool find_symbol(void* handle, const char* name, Function& out) {
  out = reinterpret_cast<Function>(dlsym(handle, name));
  return out != nullptr;
}

}  // namespace cohort::transport
