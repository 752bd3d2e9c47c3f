// `cohort calibrate` and `cohort read-memory`: run as children by the daemon, which never touches a kernel itself.
#include <chrono>
#include <vector>

#include "backend/choose.h"
#include "backend/cpu/cores.h"
#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/machine_limits.h"
#include "base/json.h"
#include "cli/commands.h"
#include "cli/step_costs.h"
#include "cluster/cost.h"
#include "cluster/device_document.h"
#include "cli/terminal.h"
#include "models/halves.h"

namespace cohort::cli {
namespace {

static_assert(models::kRowsWorthHalving == cluster::kLeastHalvedRows);

using Clock = std::chrono::steady_clock;

Result<cluster::StepSpeed> step_speed(const backend::Choice& choice,
                                      const backend::MachineLimits& limits) {
  COHORT_TRY(const StepCosts step, measure_step_costs(choice));
  const MessageCosts message = measure_message_costs().value_or(MessageCosts{});
  const ShmCosts shm = measure_shm_costs(backend::usable_cores()).value_or(ShmCosts{});
  const int cores = backend::usable_cores();
  const double all_read =
      choice.threads == cores ? limits.read_bytes_per_s : backend::measure_read_bytes_per_s(cores);
  std::vector<cluster::FormatSpeed> formats;
  for (const FormatCosts& format : step.formats) {
    formats.push_back(
        {format.format, format.weights_bytes_per_s / 1e9, format.operations_per_s / 1e9});
  }
  return cluster::StepSpeed{.formats = std::move(formats),
                            .read_gb_per_s = step.read_bytes_per_s / 1e9,
                            .core_read_gb_per_s = limits.read_bytes_per_s_one_core / 1e9,
                            .machine_read_gb_per_s = all_read / 1e9,
                            .kv_gb_per_s = step.kv_bytes_per_s / 1e9,
                            .attention_gops = step.attention_operations_per_s / 1e9,
                            .layer_us = step.layer_s * 1e6,
                            .step_us = step.step_s * 1e6,
                            .message_us = message.message_s * 1e6,
                            .message_us_per_kib = message.byte_s * 1024 * 1e6,
                            .shm_round_trip_us = shm.round_trip_p50_s * 1e6,
                            .shm_round_trip_us_p99 = shm.round_trip_p99_s * 1e6,
                            .shm_gb_per_s = shm.bytes_per_s / 1e9,
                            .hides_sums = choice.name == "cpu"};
}

// Those that are there; the one that is used comes first.
Json backends_of(const backend::Choice& choice) {
  Json names = Json::array({choice.name});
  for (const backend::BackendState& state : backend::backend_states()) {
    if (state.missing.empty() && state.name != choice.name) names.push_back(state.name);
  }
  return names;
}

Json missing_backends() {
  Json missing = Json::array();
  for (const backend::BackendState& state : backend::backend_states()) {
    if (!state.missing.empty())
      missing.push_back({{"name", state.name}, {"reason", state.missing}});
  }
  return missing;
}

}  // namespace

int calibrate(int32_t threads, const std::string& backend) {
  const auto resolved = backend::resolve_backend(backend);
  if (!resolved) return report(resolved.error());
  const backend::Choice choice{.name = *resolved,
                               .threads = threads > 0 ? threads : backend::usable_cores()};
  const auto measured = backend::measure_limits(choice);
  if (!measured) return report(measured.error());
  const backend::MachineLimits& limits = *measured;
  const auto step = step_speed(choice, limits);
  if (!step) return report(step.error());
  const Json json{{"threads", choice.threads},
                  {"backends", backends_of(choice)},
                  {"missing_backends", missing_backends()},
                  {"read_gb_per_s", limits.read_bytes_per_s / 1e9},
                  {"read_gb_per_s_one_core", limits.read_bytes_per_s_one_core / 1e9},
                  {"matmul_gops", limits.fast_operations_per_s / 1e9},
                  {"matmul_gops_f32", limits.f32_operations_per_s / 1e9},
                  {"step", to_json(*step)},
                  {"instruction_set", backend::cpu_kernel_names().back()}};
  fmt::print("{}\n", dump_json(json));
  return kExitFine;
}

int read_memory(int32_t threads, const std::string& backend,
                const std::vector<int64_t>& windows_ms) {
  const auto resolved = backend::resolve_backend(backend);
  if (!resolved) return report(resolved.error());
  if (*resolved != "cpu") return report({Code::kUnsupported, "only of CPUs"});
  auto reader = backend::MemoryReader::create(threads > 0 ? threads : backend::usable_cores());
  if (!reader) return report(reader.error());
  Json gb_per_s = Json::array();
  for (size_t i = 0; i + 1 < windows_ms.size(); i += 2) {
    const auto moment = [&](size_t index) {
      return Clock::time_point(std::chrono::milliseconds(windows_ms[index]));
    };
    const auto rate = reader->bytes_per_s({moment(i), moment(i + 1)});
    if (!rate) break;  // late; who asked sees that readings are missing
    gb_per_s.push_back(*rate / 1e9);
  }
  fmt::print("{}\n", dump_json(Json{{"read_gb_per_s", gb_per_s}}));
  return kExitFine;
}

}  // namespace cohort::cli
