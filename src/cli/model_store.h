// Models by name for commands that work without a device.
#pragma once

#include <string>

#include "base/result.h"
#include "cli/commands.h"
#include "hub/store.h"

namespace cohort::cli {

hub::Store open_store(const StoreOptions& options);

// What the runner half opens: a folder, a file, or "demo". kNotFound when it is not on this device.
Result<std::string> model_source(const StoreOptions& options, const std::string& model);

// Downloads the model when it is not on this device, with a progress bar.
Result<void> ensure_model(const StoreOptions& options, const std::string& model);

// Where `run` keeps what was typed; empty when there is no place for it.
std::string history_file(const StoreOptions& options);

}  // namespace cohort::cli
