// `cohort serve`: its flags as text, and what they mean.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "cli/commands.h"

namespace CLI {
class App;
}

namespace cohort::cli {

struct ServeFlags {
  std::string host = "127.0.0.1";
  uint16_t port = 52415;
  std::string name;
  uint16_t mesh_port = 52416;
  std::vector<std::string> peers;
  std::string cluster_namespace = "default";
  std::string secret_file;
  bool alone = false;  // no mesh: for a private device
  std::string api_key_file;
  int32_t threads = 0;
  std::string memory_limit;
  std::string kv_type = "f16";
  std::string backend = "auto";
  std::string math = "fast";
  bool no_worker = false;
  bool no_api = false;
  std::string idle_unload = "10m";
  std::string log_level = "info";
  std::string log_format = "text";
  std::vector<std::string> cors_origins;
  size_t max_connections = 1024;
  std::string max_body = "32MiB";
  int32_t max_queued = 256;
  int ready_fd = -1;  // the URL is written there, with a newline, when the port is open
};

// Flags, their COHORT_<FLAG> variables and their help.
void add_serve_flags(CLI::App& command, ServeFlags& flags);

// Sets what neither a flag nor a variable gave from config.toml. An unknown key or a bad value is an error.
Result<void> apply_config_file(CLI::App& command);

int serve(const ServeFlags& flags, const StoreOptions& store);

}  // namespace cohort::cli
