#include "cli/speed.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <system_error>

#include "base/files.h"
#include "base/json.h"
#include "base/log.h"
#include "cli/cache_folder.h"
#include "net/child_process.h"

namespace cohort::cli {
namespace {

namespace fs = std::filesystem;

// What was measured, and on what.
struct Record {
  std::string cpu, version;
  int32_t threads = 0;
  double read_gb_per_s = 0, matmul_gops = 0;
  std::string instruction_set;
  cluster::StepSpeed step;
  std::vector<std::string> backends;  // the one that was measured comes first
  std::vector<cluster::MissingBackend> missing_backends;

  template <class Visitor>
  void fields(Visitor& visit) {
    visit("cpu", cpu);
    visit("version", version);
    visit("threads", threads);
    visit("read_gb_per_s", read_gb_per_s);
    visit("matmul_gops", matmul_gops);
    visit("instruction_set", instruction_set);
    visit("step", step);
    visit("backends", backends);
    visit("missing_backends", missing_backends);
  }
};

// What `cohort read-memory` prints.
struct MemoryReading {
  std::vector<double> read_gb_per_s;

  template <class Visitor>
  void fields(Visitor& visit) {
    visit("read_gb_per_s", read_gb_per_s);
  }
};

struct Wanted {
  int32_t threads = 0;
  std::string backend;
};

// Held while measuring, so that several devices of one machine measure one after the other, and the later ones not at all.
class Lock {
 public:
  explicit Lock(const fs::path& path)
      : fd_(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)) {
    if (fd_ >= 0) ::flock(fd_, LOCK_EX);
  }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;
  ~Lock() {
    if (fd_ >= 0) ::close(fd_);
  }

 private:
  int fd_;
};

Result<Record> read_record(const fs::path& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return read_json<Record>(text.str());
}

Result<Record> measure(const Wanted& wanted) {
  constexpr size_t kMaxOutputBytes = 64u << 10;
  constexpr std::chrono::seconds kPatience{90};
  COHORT_TRY(const std::string text,
             net::output_of({net::self_executable(), "calibrate", "--threads",
                             std::to_string(wanted.threads), "--backend", wanted.backend},
                            kMaxOutputBytes, net::Clock::now() + kPatience));
  return read_json<Record>(text);
}

node::DeviceSpeed to_speed(const Record& record) {
  return {record.read_gb_per_s, record.matmul_gops, record.instruction_set,
          record.step,          record.backends,    record.missing_backends};
}

// Measured now, and kept in `path` unless that is empty.
Result<Record> measure_and_keep(const fs::path& path, const std::string& cpu,
                                const Wanted& wanted) {
  COHORT_TRY(Record record, measure(wanted));
  record.cpu = cpu;
  record.version = COHORT_VERSION;
  record.threads = wanted.threads;
  if (path.empty()) return record;
  const auto written = write_file(path, dump_json(to_json(record)) + "\n");
  if (!written) log::warn("the speed of this device is not kept: {}", written.error().message);
  return record;
}

// Beside the rates of kernels; only CPUs tell.
bool knows_memory(const Record& record) {
  const bool is_cpu = record.backends.empty() || record.backends.front() == "cpu";
  return !is_cpu || record.step.read_gb_per_s > 0;
}

Result<Record> kept_or_measured(const std::string& cpu, const Wanted& wanted) {
  const fs::path folder = cache_folder();
  if (folder.empty()) return measure_and_keep({}, cpu, wanted);
  std::error_code ignored;
  fs::create_directories(folder, ignored);
  const fs::path path = folder / fmt::format("speed-{}-{}.json", wanted.backend, wanted.threads);
  const Lock lock(folder / "speed.lock");
  const Result<Record> kept = read_record(path);
  const bool still_holds = kept && kept->cpu == cpu && kept->version == COHORT_VERSION &&
                           kept->threads == wanted.threads && !kept->step.formats.empty() &&
                           kept->step.shm_round_trip_us > 0 && knows_memory(*kept);
  return still_holds ? kept : measure_and_keep(path, cpu, wanted);
}

}  // namespace

node::DeviceSpeed device_speed(int32_t threads, const std::string& backend) {
  const Result<Record> record = kept_or_measured(node::device_hardware().cpu, {threads, backend});
  if (record) return to_speed(*record);
  log::warn("the speed of this device could not be measured: {}", record.error().message);
  return {};
}

Result<std::vector<double>> memory_speed(int32_t threads, const std::string& backend,
                                         const std::vector<node::MeasuringWindow>& windows) {
  constexpr size_t kMaxOutputBytes = 4096;
  constexpr std::chrono::seconds kPatience{1};  // beyond the last window
  std::string moments;
  for (const node::MeasuringWindow& window : windows) {
    for (const net::TimePoint moment : {window.begin, window.end}) {
      const auto since_boot = moment.time_since_epoch();
      const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(since_boot).count();
      moments += fmt::format("{}{}", moments.empty() ? "" : ",", ms);
    }
  }
  COHORT_TRY(const std::string text,
             net::output_of({net::self_executable(), "read-memory", "--threads",
                             std::to_string(threads), "--backend", backend, "--windows", moments},
                            kMaxOutputBytes, windows.back().end + kPatience));
  COHORT_TRY(MemoryReading reading, read_json<MemoryReading>(text));
  if (reading.read_gb_per_s.size() != windows.size())
    return fail(Code::kUnavailable, "{} readings of {} in time", reading.read_gb_per_s.size(),
                windows.size());
  return std::move(reading.read_gb_per_s);
}

}  // namespace cohort::cli
