#include "cli/serve_flags.h"

#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>

#include "api/serve.h"
#include "base/bytes.h"
#include "base/log.h"
#include "cli/config_file.h"
#include "cli/model_catalog.h"
#include "cli/model_store.h"
#include "cli/secret.h"
#include "cli/speed.h"
#include "cli/terminal.h"
#include "transport/verbs/device.h"

namespace cohort::cli {
namespace {

std::string variable_of(const std::string& flag) {
  std::string name = "COHORT_" + flag;
  for (char& c : name)
    c = c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return name;
}

template <class T>
CLI::Option* add(CLI::App& command, const std::string& flag, T& value, const std::string& help) {
  return command.add_option("--" + flag, value, help)
      ->envname(variable_of(flag))
      ->capture_default_str();
}

// "10m", "90s", "2h", "0": in milliseconds.
Result<std::chrono::milliseconds> parse_duration(const std::string& text) {
  int64_t value = 0;
  const auto [end, status] = std::from_chars(text.data(), text.data() + text.size(), value);
  const std::string unit(end, text.data() + text.size());
  const int64_t scale = unit == "ms"                  ? 1
                        : unit == "s" || unit.empty() ? 1000
                        : unit == "m"                 ? 60'000
                        : unit == "h"                 ? 3'600'000
                                                      : 0;
  if (status != std::errc() || scale == 0 || value < 0 || value > INT64_MAX / scale) {
    return fail(Code::kInvalidArgument, "'{}' is not a duration; write for example 90s, 10m or 2h",
                text);
  }
  return std::chrono::milliseconds(value * scale);
}

cluster::RdmaDocument examine_rdma() {
  transport::RdmaFacts facts = transport::rdma_facts();
  cluster::RdmaDocument rdma{.problem = std::move(facts.problem)};
  for (const transport::RdmaPort& port : facts.ports) {
    rdma.ports.push_back({.device = port.device,
                          .port = port.port,
                          .state = port.state,
                          .fabric = port.fabric,
                          .gbit_per_s = port.gbit_per_s,
                          .address = port.gid_index < 0 ? "" : port.address()});
  }
  return rdma;
}

bool is_loopback(const std::string& host) {
  return host == "localhost" || host == "::1" || host.starts_with("127.");
}

void announce(const ServeFlags& flags, uint16_t port) {
  const std::string host =
      flags.host.find(':') == std::string::npos ? flags.host : "[" + flags.host + "]";
  const std::string url = fmt::format("http://{}:{}", host, port);
  log::info("listening on {}", url);
  if (flags.ready_fd < 0) return;
  const std::string line = url + "\n";
  if (write(flags.ready_fd, line.data(), line.size()) < 0)
    log::warn("could not write to --ready-fd");
  close(flags.ready_fd);
}

Result<api::ServeOptions> options_of(const ServeFlags& flags, const StoreOptions& store) {
  api::ServeOptions options{.host = flags.host, .port = flags.port};
  if (!flags.api_key_file.empty()) {
    COHORT_TRY(options.api_keys, api::read_api_keys(flags.api_key_file));
  }
  options.cors_origins = flags.cors_origins;
  options.api = !flags.no_api;
  options.http.max_connections = flags.max_connections;
  COHORT_TRY(options.http.max_body_bytes, parse_bytes(flags.max_body));
  options.node.name = flags.name;
  options.node.data_dir = open_store(store).data_dir().string();
  options.node.place = !flags.no_worker;
  if (!flags.alone) {
    mesh::MeshOptions mesh{.cluster_namespace = flags.cluster_namespace, .port = flags.mesh_port};
    mesh.peers = flags.peers;
    COHORT_TRY(mesh.secret, read_secret(flags.secret_file));
    options.node.mesh = std::move(mesh);
    options.node.measure_speed = [threads = flags.threads, backend = flags.backend] {
      return device_speed(threads, backend);
    };
    options.node.measure_memory = [threads = flags.threads, backend = flags.backend](
                                      const std::vector<node::MeasuringWindow>& windows) {
      return memory_speed(threads, backend, windows);
    };
  }
  options.node.examine_rdma = examine_rdma;
  options.node.load.threads = flags.threads;
  options.node.load.kv_type = flags.kv_type;
  options.node.load.backend = flags.backend;
  options.node.load.math = flags.math;
  options.node.load.max_queued = flags.max_queued;
  if (!flags.memory_limit.empty()) {
    COHORT_TRY(options.node.memory_limit_bytes, parse_bytes(flags.memory_limit));
  }
  COHORT_TRY(options.node.idle_unload, parse_duration(flags.idle_unload));
  options.on_listening = [flags](uint16_t port) { announce(flags, port); };
  return options;
}

Result<int> serve_or_fail(const ServeFlags& flags, const StoreOptions& store) {
  COHORT_TRY(const log::Level level, log::parse_level(flags.log_level));
  COHORT_TRY(const log::Format format, log::parse_format(flags.log_format));
  log::configure(level, format, "device");
  COHORT_TRY(api::ServeOptions options, options_of(flags, store));
  if (!is_loopback(flags.host) && options.api_keys.empty()) {
    log::warn("anyone who reaches {} can use this device: give it --api-key-file", flags.host);
  }
  return api::serve(std::move(options), model_catalog(store, flags.kv_type));
}

}  // namespace

void add_serve_flags(CLI::App& command, ServeFlags& flags) {
  add(command, "host", flags.host, "address the API listens on");
  add(command, "port", flags.port, "its port; 0 takes a free one");
  add(command, "name", flags.name, "what people call this device; default the host's name");
  add(command, "mesh-port", flags.mesh_port, "port for other devices; 0 takes a free one");
  add(command, "peer", flags.peers,
      "HOST[:PORT] of a device that multicast does not reach (repeatable)");
  add(command, "namespace", flags.cluster_namespace, "only devices of the same one join");
  add(command, "secret-file", flags.secret_file,
      "the cluster's secret; default is what 'cohort secret' keeps");
  add(command, "api-key-file", flags.api_key_file,
      "file of keys, one a line; without it the API is open");
  add(command, "threads", flags.threads, "of a runner; 0 = one a core")
      ->check(CLI::NonNegativeNumber);
  add(command, "memory-limit", flags.memory_limit,
      "for all models together, such as 8GiB; default what is available");
  add(command, "kv-type", flags.kv_type, "how keys and values are cached")
      ->check(CLI::IsMember({"f32", "f16", "bf16", "q8"}));
  add(command, "backend", flags.backend,
      "what models compute on: mlx is the GPU of a Mac; auto takes it where it is")
      ->check(CLI::IsMember({"auto", "cpu", "mlx"}));
  add(command, "math", flags.math,
      "f32: float32 throughout; fast: the machine's 8-bit and bf16 instructions; int8: 8-bit for "
      "prompts, too")
      ->check(CLI::IsMember({"f32", "fast", "int8"}));
  add(command, "idle-unload", flags.idle_unload,
      "an instance without requests ends after that; 0 = never");
  add(command, "cors-origin", flags.cors_origins,
      "a site whose pages may call the API (repeatable)");
  add(command, "max-connections", flags.max_connections, "more are turned away")
      ->check(CLI::PositiveNumber);
  add(command, "max-body", flags.max_body, "largest request");
  add(command, "max-queued", flags.max_queued, "requests of an instance that wait; more get 429")
      ->check(CLI::PositiveNumber);
  command.add_flag("--no-worker", flags.no_worker, "place no model here")
      ->envname("COHORT_NO_WORKER");
  command.add_flag("--no-api", flags.no_api, "open no HTTP port")->envname("COHORT_NO_API");
  add(command, "log-level", flags.log_level, "debug, info, warn, error or off");
  add(command, "log-format", flags.log_format, "text or json");
  command.add_option("--ready-fd", flags.ready_fd)->group("");
  command.add_flag("--alone", flags.alone)->group("");
}

Result<void> apply_config_file(CLI::App& command) {
  const std::filesystem::path path = config_dir() / "config.toml";
  COHORT_TRY(const auto values, read_config_file(path));
  for (const auto& [key, texts] : values) {
    CLI::Option* option = command.get_option_no_throw("--" + key);
    if (option == nullptr || key == "help" || key == "ready-fd") {
      return fail(Code::kInvalidArgument,
                  "{}: unknown key '{}'; the keys are the flags of 'cohort serve'", path.string(),
                  key);
    }
    if (option->count() > 0) continue;
    try {
      for (const std::string& text : texts) option->add_result(text);
      option->run_callback();
    } catch (const CLI::Error& error) {
      return fail(Code::kInvalidArgument, "{}: {}: {}", path.string(), key, error.what());
    }
  }
  return {};
}

int serve(const ServeFlags& flags, const StoreOptions& store) {
  const Result<int> ended = serve_or_fail(flags, store);
  return ended ? *ended : report(ended.error());
}

}  // namespace cohort::cli
