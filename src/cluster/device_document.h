// What a device says of itself: the body of its document. Facts only; who may believe what is decided elsewhere.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "cluster/document.h"

namespace cohort::cluster {

// What ranks of a pair of devices can be linked by beside TCP, as measured. Zeros: not yet.
struct WayDocument {
  std::string transport;
  double rtt_us_p50 = 0;
  double rtt_us_p99 = 0;
  double bandwidth_mbit_per_s = 0;
  bool operator==(const WayDocument&) const = default;

  template <class Visitor>
  void fields(Visitor& visit) {
    visit("transport", transport);
    visit("rtt_us_p50", rtt_us_p50);
    visit("rtt_us_p99", rtt_us_p99);
    visit("bandwidth_mbit_per_s", bandwidth_mbit_per_s);
  }
};

// What a pair has all that is needed for, and what was tried in vain.
struct MissingWayDocument {
  std::string transport, reason;
  bool operator==(const MissingWayDocument&) const = default;

  template <class Visitor>
  void fields(Visitor& visit) {
    visit("transport", transport);
    visit("reason", reason);
  }
};

// The figures are the network's.
struct LinkDocument {
  DeviceId peer;
  std::string address;
  std::string kind;  // of the interface: "ethernet", "wifi", "thunderbolt", "loopback", "other"
  double rtt_us_p50 = 0;  // zeros: not measured yet
  double rtt_us_p99 = 0;
  double message_us = 0;  // of kMessageBytes (cost.h) as ranks exchange them; 0: not known
  double bandwidth_mbit_per_s = 0;
  int64_t measured_unix_ms = 0;
  std::vector<WayDocument> ways;
  std::vector<MissingWayDocument> missing_ways;

  template <class Visitor>
  void fields(Visitor& visit) {
    visit("peer", peer);
    visit("ways", ways);
    visit("missing_ways", missing_ways);
    visit("address", address);
    visit("kind", kind);
    visit("rtt_us_p50", rtt_us_p50);
    visit("rtt_us_p99", rtt_us_p99);
    visit("message_us", message_us);
    visit("bandwidth_mbit_per_s", bandwidth_mbit_per_s);
    visit("measured_unix_ms", measured_unix_ms);
  }
};

// A rank of an instance this device runs. What follows `reason` is filled in by rank 0 alone, but for the sizes.
struct ShardDocument {
  std::string instance;
  uint64_t epoch = 0;
  int32_t rank = 0;
  std::string state;  // loading | ready | healing | failed
  std::string reason;
  int32_t layers_loaded = 0, total_layers = 0;
  uint64_t weight_bytes = 0, kv_bytes = 0, rss_bytes = 0;
  int32_t context_length = 0;
  std::string architecture, backend;
  double load_seconds = 0;
  int32_t requests = 0, running = 0, queued = 0;
  int32_t kv_pages_total = 0, kv_pages_used = 0, kv_pages_cached = 0;
  uint64_t prompt_tokens = 0, cached_tokens = 0, generated_tokens = 0;
  int32_t restarts = 0;
  double decode_tokens_per_s = 0;  // achieved, of one stream; 0: none yet
  int32_t runner_pid = 0;
  std::vector<std::string> transports;  // by which this rank is linked to each; "" to itself

  template <class Visitor>
  void fields(Visitor& visit) {
    visit("transports", transports);
    visit("instance", instance);
    visit("epoch", epoch);
    visit("rank", rank);
    visit("state", state);
    visit("reason", reason);
    visit("layers_loaded", layers_loaded);
    visit("total_layers", total_layers);
    visit("weight_bytes", weight_bytes);
    visit("kv_bytes", kv_bytes);
    visit("rss_bytes", rss_bytes);
    visit("context_length", context_length);
    visit("architecture", architecture);
    visit("backend", backend);
    visit("load_seconds", load_seconds);
    visit("requests", requests);
    visit("running", running);
    visit("queued", queued);
    visit("kv_pages_total", kv_pages_total);
    visit("kv_pages_used", kv_pages_used);
    visit("kv_pages_cached", kv_pages_cached);
    visit("prompt_tokens", prompt_tokens);
    visit("cached_tokens", cached_tokens);
    visit("generated_tokens", generated_tokens);
    visit("restarts", restarts);
    visit("decode_tokens_per_s", decode_tokens_per_s);
    visit("runner_pid", runner_pid);
  }
};

// How fast the kernels go through weights of a format, with all threads of a runner.
struct FormatSpeed {
  std::string format;       // of kFormats
  double gb_per_s = 0;      // one token at a time
  double prefill_gops = 0;  // many rows at once

  template <class Visitor>
  void fields(Visitor& visit) {
    visit("format", format);
    visit("gb_per_s", gb_per_s);
    visit("prefill_gops", prefill_gops);
  }
};

// What a step costs on a device, as measured; zeros: not yet.
struct StepSpeed {
  std::vector<FormatSpeed> formats;
  double read_gb_per_s = 0;       // what memory gave a runner's threads then, pure reading
  double core_read_gb_per_s = 0;  // what memory gives one core, and all of the machine
  double machine_read_gb_per_s = 0;
  double kv_gb_per_s = 0;     // attention over the KV cache
  double attention_gops = 0;  // of a prompt's rows to what stands before them
  double layer_us = 0;        // of each layer, beside what it reads
  double step_us = 0;
  double message_us = 0;  // of a message between ranks over TCP, beyond the bare path's time
  double message_us_per_kib = 0;
  double shm_round_trip_us = 0;  // of a small message to another rank of this host and back
  double shm_round_trip_us_p99 = 0;
  double shm_gb_per_s = 0;  // one way, copied in and out
  bool hides_sums = false;  // computes one half of a prompt's rows while the other's sums travel

  template <class Visitor>
  void fields(Visitor& visit) {
    visit("formats", formats);
    visit("read_gb_per_s", read_gb_per_s);
    visit("core_read_gb_per_s", core_read_gb_per_s);
    visit("machine_read_gb_per_s", machine_read_gb_per_s);
    visit("kv_gb_per_s", kv_gb_per_s);
    visit("attention_gops", attention_gops);
    visit("layer_us", layer_us);
    visit("step_us", step_us);
    visit("message_us", message_us);
    visit("message_us_per_kib", message_us_per_kib);
    visit("shm_round_trip_us", shm_round_trip_us);
    visit("shm_round_trip_us_p99", shm_round_trip_us_p99);
    visit("shm_gb_per_s", shm_gb_per_s);
    visit("hides_sums", hides_sums);
  }
};

// What memory gives a runner's threads at present: measured again and again (node/memory_gauge.h), since hosts of virtual
// machines, other programs and warm chips change it. Zeros: not since the device started.
struct MemorySpeed {
  double read_gb_per_s = 0;      // while the other devices of the machine do nothing
  double together_gb_per_s = 0;  // while all devices of the machine read at once
  int64_t measured_unix_ms = 0;

  template <class Visitor>
  void fields(Visitor& visit) {
    visit("read_gb_per_s", read_gb_per_s);
    visit("together_gb_per_s", together_gb_per_s);
    visit("measured_unix_ms", measured_unix_ms);
  }
};

// What models could compute on if `reason` were not so.
struct MissingBackend {
  std::string name, reason;

  template <class Visitor>
  void fields(Visitor& visit) {
    visit("name", name);
    visit("reason", reason);
  }
};

// A port of an RDMA device.
struct RdmaPortDocument {
  std::string device;  // "mlx5_0"
  int32_t port = 1;
  std::string state;      // "active", "down", "init"
  std::string fabric;     // "ethernet", "infiniband"
  double gbit_per_s = 0;  // of the link; 0: the device does not tell
  std::string address;    // "": it has none
  bool usable() const { return state == "active" && !address.empty(); }
  bool operator==(const RdmaPortDocument&) const = default;

  template <class Visitor>
  void fields(Visitor& visit) {
    visit("device", device);
    visit("port", port);
    visit("state", state);
    visit("fabric", fabric);
    visit("gbit_per_s", gbit_per_s);
    visit("address", address);
  }
};

// What RDMA a device has, and what keeps it from being used.
struct RdmaDocument {
  std::vector<RdmaPortDocument> ports;
  std::string problem;  // one line with the remedy; empty: none known, or no RDMA to expect
  bool operator==(const RdmaDocument&) const = default;

  template <class Visitor>
  void fields(Visitor& visit) {
    visit("ports", ports);
    visit("problem", problem);
  }
};

struct AddressDocument {
  std::string interface, kind;  // as of a link
  std::string address;

  template <class Visitor>
  void fields(Visitor& visit) {
    visit("interface", interface);
    visit("kind", kind);
    visit("address", address);
  }
};

struct DeviceDocument {
  DeviceId id;
  std::string name;
  std::string version;
  std::string system;  // "linux x86_64"
  std::string cpu;
  int32_t cores = 0;
  std::string instruction_set;
  uint64_t memory_total_bytes = 0;
  uint64_t memory_available_bytes = 0;
  uint64_t memory_limit_bytes = 0;  // of all models together; 0: the machine's
  uint64_t disk_available_bytes = 0;
  double read_gb_per_s = 0;  // measured with all threads a runner would use; 0: not yet
  double matmul_gops = 0;    // of prefill's instruction
  StepSpeed step;
  MemorySpeed memory;
  double temperature_c = 0;  // 0: the OS does not tell
  int32_t battery_percent = -1;
  std::vector<std::string> backends;
  std::vector<MissingBackend> missing_backends;
  RdmaDocument rdma;
  bool worker = true;    // takes shards
  bool leaving = false;  // is about to go: its shards move
  uint64_t daemon_rss_bytes = 0;
  uint16_t mesh_port = 0;
  std::string
      machine;  // the same for all that run under one kernel, and share its memory's bandwidth
  std::vector<AddressDocument> addresses;  // its own, for those whom no beacon of it reaches
  int64_t clock_unix_ms = 0;               // what its clock said when it wrote this
  std::vector<LinkDocument> links;
  std::vector<ShardDocument> shards;
  Version heard_plan;     // when it wrote this; it writes soon after one that concerns it
  std::string host_mark;  // whoever reaches the local socket of this name is on the same host
  std::string orphans;    // a plan of ours that a newer leader's replaced: for it to adopt

  template <class Visitor>
  void fields(Visitor& visit) {
    visit("id", id);
    visit("name", name);
    visit("version", version);
    visit("system", system);
    visit("cpu", cpu);
    visit("cores", cores);
    visit("instruction_set", instruction_set);
    visit("memory_total_bytes", memory_total_bytes);
    visit("memory_available_bytes", memory_available_bytes);
    visit("memory_limit_bytes", memory_limit_bytes);
    visit("disk_available_bytes", disk_available_bytes);
    visit("read_gb_per_s", read_gb_per_s);
    visit("matmul_gops", matmul_gops);
    visit("step", step);
    visit("memory", memory);
    visit("temperature_c", temperature_c);
    visit("battery_percent", battery_percent);
    visit("backends", backends);
    visit("missing_backends", missing_backends);
    visit("rdma", rdma);
    visit("worker", worker);
    visit("leaving", leaving);
    visit("daemon_rss_bytes", daemon_rss_bytes);
    visit("mesh_port", mesh_port);
    visit("machine", machine);
    visit("addresses", addresses);
    visit("clock_unix_ms", clock_unix_ms);
    visit("links", links);
    visit("shards", shards);
    visit("heard_plan", heard_plan);
    visit("host_mark", host_mark);
    visit("orphans", orphans);
  }

  const ShardDocument* shard(const std::string& instance, uint64_t epoch) const;
  const LinkDocument* link(const DeviceId& peer) const;
};

}  // namespace cohort::cluster
