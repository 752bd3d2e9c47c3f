// The commands, as values in and an exit code out (terminal.h). main.cc fills the options from flags, environment and
// config file; each function does its command and reports its own errors on stderr.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace cohort::cli {

// Which device a command talks to, and how results are printed.
struct Common {
  std::string api = "http://127.0.0.1:52415";  // --api, COHORT_API
  bool api_given = false;
  bool json = false;
  std::string api_key;  // COHORT_API_KEY
};

// Where models are kept; the same for every command and the daemon.
struct StoreOptions {
  std::filesystem::path data_dir;  // empty: the platform's place
  std::vector<std::filesystem::path> models_dirs;
  bool offline = false;
};

struct RunOptions {
  std::string model;
  std::optional<std::string>
      prompt;  // none: interactive, or standard input when it is not a terminal
  std::optional<std::string> system;
  std::optional<int32_t> max_tokens;
  std::optional<double> temperature;
  std::optional<uint64_t> seed;
  bool stats = false;
  int32_t devices =
      0;  // to place it so before the first answer; 0 and "auto": as it is, or as is best
  std::string sharding = "auto";
  std::string transport = "auto";
};
int run(const Common& common, const StoreOptions& store, const RunOptions& options);

// Instances.
struct PlaceOptions {
  std::string model;
  int32_t devices = 0;  // 0: as many as pay
  std::string sharding = "auto";
  std::vector<std::string> only;    // names or ids
  std::vector<std::string> layers;  // NAME=FIRST-LAST, in order
  int32_t context = 0;
  int32_t concurrency = 0;
  int32_t prompt = 0, answer = 0;  // tokens, of a usual request
  std::string wire = "f32";
  std::string transport = "auto";
  int32_t replicas = 1;
  bool wait = false;
};
int place(const Common& common, const PlaceOptions& options);
int plan(const Common& common, const PlaceOptions& options);
int ps(const Common& common);
int stop(const Common& common, const std::string& instance_or_model);
int devices(const Common& common, int32_t wait_for);  // 0: as they are now
int top(const Common& common, bool once);
int doctor(const Common& common, const StoreOptions& store);  // fails when a check does

// Models on disk and on the hub.
int ls(const Common& common, const StoreOptions& store);
int show(const Common& common, const StoreOptions& store, const std::string& model);
int search(const Common& common, const StoreOptions& store, const std::string& query);
int pull(const Common& common, const StoreOptions& store, const std::string& model);
int rm(const Common& common, const StoreOptions& store, const std::string& model);
int import(const Common& common, const StoreOptions& store, const std::filesystem::path& from);

// Work on a model without a device.
struct VerifyOptions {
  std::filesystem::path folder;
  std::string math = "f32";
  std::vector<std::string> backends = {"auto"};  // of each rank in turn
  int32_t chunk = 0;                             // 0: prefill in one go
  double tolerance = 1e-3;
  bool tolerance_given = false;
  int32_t threads = 0;  // 0: one a core; one a rank with several
  int32_t ranks = 1;
  std::string sharding = "tensor";
  std::vector<double> fractions;  // empty: even
  std::string transport = "tcp";
  std::string wire = "f32";
};
int verify(const Common& common, const VerifyOptions& options);

struct PerplexityOptions {
  std::string model;
  std::filesystem::path file;
  int32_t context = 512;  // tokens of a window
  int32_t windows = 0;    // at most; 0: all
  int32_t chunk = 64;     // tokens a step
  std::string math = "fast";
  std::string kv_type;  // empty: f32 with math f32, else f16; the reference's goes by its own math
  std::string against;  // a reference model, whose distributions are compared; empty: none, or
  std::string against_math;  // the same model's with other arithmetic
  int32_t threads = 0;       // 0: one a core
};
int perplexity(const Common& common, const StoreOptions& store, const PerplexityOptions& options);

struct BenchOptions {
  std::string model;            // or
  std::string shape;            // of random weights (synthetic_model.h)
  std::filesystem::path write;  // only write the shape's model into this folder
  int32_t pp = 512;
  int32_t tg = 128;
  int32_t depth = 0;  // positions before the prompt
  std::vector<int32_t> concurrency = {1};
  int32_t repeat = 5;
  int32_t threads = 0;  // 0: one a core; of several ranks together
  std::string backend = "auto";
  std::string math = "fast";
  std::string kv_type = "f16";
  int32_t ranks = 1;
  std::string sharding = "tensor";
  std::string transport = "tcp";
  std::string wire = "f32";
  bool encrypt = false;        // TCP links
  double link_mbit_per_s = 0;  // slows them down to this rate, and
  double link_delay_us = 0;    // by this much one way
  std::vector<double>
      paces;  // of each rank, of its full pace; a tensor group's shares are in proportion
};
int bench(const Common& common, const StoreOptions& store, const BenchOptions& options);

// For the daemon: what this machine does at best on that backend, as JSON. threads 0: one a core.
int calibrate(int32_t threads, const std::string& backend);
// Windows: begins and ends, in milliseconds of the machine's monotonic clock.
int read_memory(int32_t threads, const std::string& backend,
                const std::vector<int64_t>& windows_ms);

struct TokenizeOptions {
  std::string model;
  std::optional<std::string> text;  // none: standard input
  bool decode = false;              // the text is ids
};
int tokenize(const Common& common, const StoreOptions& store, const TokenizeOptions& options);
int render_template(const Common& common, const StoreOptions& store, const std::string& model,
                    const std::filesystem::path& request);

int secret(const Common& common, const std::string& action, const std::string& value);

int version(const Common& common);

}  // namespace cohort::cli
