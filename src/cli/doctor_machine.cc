// Clock, memory, instruction set, disk, RDMA and backends of this machine.
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <system_error>

#include "backend/choose.h"
#include "backend/cpu/cpu_backend.h"
#include "base/bytes.h"
#include "cli/doctor.h"
#include "node/device.h"
#include "transport/verbs/device.h"

namespace cohort::cli {
namespace {

namespace fs = std::filesystem;
using State = Finding::State;

constexpr uint64_t kScarceMemoryBytes = 1ull << 30;
constexpr uint64_t kScarceDiskBytes = 10ull << 30;
constexpr uint64_t kFullDiskBytes = 16ull << 20;

Finding examine_clock() {
  constexpr std::chrono::sys_days kEarliest = std::chrono::year{2026} / 1 / 1;
  constexpr std::chrono::sys_days kLatest = std::chrono::year{2100} / 1 / 1;
  const auto now = std::chrono::system_clock::now();
  if (now < kEarliest || now > kLatest) {
    return {"clock", State::kFailed, "the date cannot be right",
            "set it, or turn on network time: timedatectl set-ntp true; downloads need it"};
  }
  return {"clock", State::kOk, "the date is plausible", ""};
}

Finding examine_memory() {
  const node::DeviceMemory memory = node::device_memory();
  Finding finding{"memory", State::kOk,
                  fmt::format("{}, {} available", format_bytes(memory.total_bytes),
                              format_bytes(memory.available_bytes)),
                  ""};
  if (memory.available_bytes >= kScarceMemoryBytes) return finding;
  finding.state = State::kWarning;
  finding.remedy = "end other programs: models need what is available";
  return finding;
}

// Registering memory with an RDMA device locks it.
Finding examine_memlock() {
  rlimit limit{};
  ::getrlimit(RLIMIT_MEMLOCK, &limit);
  if (limit.rlim_cur == RLIM_INFINITY) return {"memlock", State::kOk, "unlimited", ""};
  Finding finding{"memlock", State::kOk, "limit " + format_bytes(limit.rlim_cur), ""};
  if (transport::rdma_facts().ports.empty()) {
    finding.seen += ", which only RDMA would raise";
    return finding;
  }
  finding.state = State::kWarning;
  finding.remedy = "RDMA locks its buffers: ulimit -l unlimited, or LimitMEMLOCK=infinity";
  return finding;
}

Finding examine_instructions() {
  const std::vector<std::string> kernels = backend::cpu_kernel_names();
  if (kernels.size() > 1) return {"instructions", State::kOk, kernels.back(), ""};
  return {"instructions", State::kWarning, kernels.back() + " only",
          "a virtual machine may hide AVX2: give it the host's CPU model"};
}

// The folder itself, or the first parent that is there.
fs::path nearest_existing(fs::path folder) {
  std::error_code error;
  while (!fs::exists(folder, error) && folder.has_relative_path()) folder = folder.parent_path();
  return folder;
}

Finding examine_disk(const fs::path& data_dir) {
  std::error_code error;
  const fs::path folder = nearest_existing(fs::absolute(data_dir, error));
  if (!fs::is_directory(folder, error) || ::access(folder.c_str(), W_OK) != 0) {
    return {"disk", State::kFailed, fmt::format("cannot write to {}", data_dir.string()),
            "give it to this user, or name another folder with --data-dir"};
  }
  const uint64_t available = node::disk_available_bytes(folder.string());
  Finding finding{"disk", State::kOk,
                  fmt::format("{} available in {}", format_bytes(available), data_dir.string()),
                  ""};
  if (available >= kScarceDiskBytes) return finding;
  finding.state = available < kFullDiskBytes ? State::kFailed : State::kWarning;
  finding.remedy = "models need room: 'cohort rm' removes one, --data-dir names another disk";
  return finding;
}

void examine_rdma(Findings& findings) {
  const transport::RdmaFacts facts = transport::rdma_facts();
  if (facts.ports.empty()) {
    findings.push_back({"rdma", facts.problem.empty() ? State::kOk : State::kWarning,
                        facts.available ? "no RDMA device that can be opened" : "no RDMA here",
                        facts.problem});
  }
  for (const transport::RdmaPort& port : facts.ports) {
    findings.push_back(
        {fmt::format("rdma {}", port.device), port.usable() ? State::kOk : State::kWarning,
         fmt::format("port {} {}, {:g} Gbit/s, {}", port.port, port.state, port.gbit_per_s,
                     port.gid_index < 0 ? "no address" : port.address()),
         port.usable() ? "" : facts.problem});
  }
}

// "cpu (avx512_bf16); no mlx: why". That a machine has no GPU for MLX is no fault of it.
Finding examine_backends() {
  std::string seen;
  for (const backend::BackendState& state : backend::backend_states()) {
    if (!seen.empty()) seen += "; ";
    seen += state.missing.empty() ? fmt::format("{} ({})", state.name, state.detail)
                                  : fmt::format("no {}: {}", state.name, state.missing);
  }
  return {"backends", State::kOk, seen, ""};
}

}  // namespace

void examine_machine(const fs::path& data_dir, Findings& findings) {
  findings.push_back(examine_clock());
  findings.push_back(examine_memory());
  findings.push_back(examine_memlock());
  findings.push_back(examine_instructions());
  findings.push_back(examine_disk(data_dir));
  examine_rdma(findings);
  findings.push_back(examine_backends());
}

}  // namespace cohort::cli
