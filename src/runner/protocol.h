// What the daemon and a runner say to each other over a local stream socket. Frames are a u32 length (of what follows,
// little-endian, at most kMaxFrameBytes), a u8 type, and a JSON body. The structs here are that JSON.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/sampling.h"

namespace cohort::runner {

inline constexpr uint32_t kMaxFrameBytes = 64u << 20;

enum class FrameType : uint8_t {
  kLoad = 1,      // daemon -> runner: LoadCommand, the first frame
  kProgress = 2,  // runner -> daemon: LoadProgress
  kReady = 3,     // runner -> daemon: ReadyInfo
  kFailed = 4,    // runner -> daemon: Failure; the runner then exits
  kGenerate = 5,  // daemon -> runner: GenerateRequest
  kCancel = 6,    // daemon -> runner: RequestRef
  kDelta = 7,     // runner -> daemon: GenerateDelta
  kStats = 8,     // runner -> daemon: RunnerStats, once a second while busy, and on change to idle
  kShutdown = 9,  // daemon -> runner: finish running requests up to a deadline, then exit 0
  kListening = 10,  // runner -> daemon: Listening; the first word of a rank of several
  kConnect = 11,    // daemon -> runner: ConnectCommand, once all ranks listen
  kMeasure = 12,    // daemon -> runner, instead of kLoad: MeasureCommand; then kListening, kConnect
  kMeasured = 13,   // runner -> daemon, from rank 0: LinkMeasurement; both then exit
};

// One pipeline stage: contiguous layers on a tensor group.
struct StageLayout {
  int32_t first_layer = 0;
  int32_t last_layer = 0;         // exclusive
  std::vector<int32_t> ranks;     // of the instance, in the group's order
  std::vector<double> fractions;  // one a rank; they sum to 1

  template <class Visitor>
  void fields(Visitor& visit) {
    visit("first_layer", first_layer);
    visit("last_layer", last_layer);
    visit("ranks", ranks);
    visit("fractions", fractions);
  }
};

// What two ranks are to be linked by if they can, of several ways that were measured.
struct PairLayout {
  int32_t first = 0, second = 0;
  std::string transport;

  template <class Visitor>
  void fields(Visitor& visit) {
    visit("first", first);
    visit("second", second);
    visit("transport", transport);
  }
};

// How an instance is cut. Ranks are 0..n-1, each in one stage. Rank 0 is the first of the last stage: it drives the others,
// and has the logits at hand.
struct GroupLayout {
  std::vector<StageLayout> stages;  // in the order of layers, all of them
  std::string wire = "f32";         // of values between ranks: f32 | bf16 | q8
  std::string transport =
      "auto";  // of every pair: the best there is, or one of transport/transports.h
  std::vector<PairLayout> pairs;  // the runners know best about others

  template <class Visitor>
  void fields(Visitor& visit) {
    visit("stages", stages);
    visit("wire", wire);
    visit("transport", transport);
    visit("pairs", pairs);
  }
};

struct LoadCommand {
  std::string model;           // a folder, or "demo" for the model inside the binary
  std::string model_name;      // as users call it
  int32_t context_length = 0;  // 0: what memory and the model allow
  int32_t max_sequences = 32;
  int32_t max_queued = 256;
  uint64_t memory_limit_bytes = 0;   // 0: no limit but the machine's
  int32_t threads = 0;               // 0: one a physical core
  std::string kv_type = "f16";       // f32 | f16 | bf16 | q8
  std::string backend = "auto";      // auto | cpu | mlx
  std::string math = "fast";         // f32 | fast | int8
  double pace = 1;                   // for ranks of one process, as in CpuOptions; not sent
  std::optional<GroupLayout> group;  // none: the whole model is here
  int32_t rank = 0;                  // ours, with a group

  template <class Visitor>
  void fields(Visitor& visit) {
    visit("group", group);
    visit("rank", rank);
    visit("model", model);
    visit("model_name", model_name);
    visit("context_length", context_length);
    visit("max_sequences", max_sequences);
    visit("max_queued", max_queued);
    visit("memory_limit_bytes", memory_limit_bytes);
    visit("threads", threads);
    visit("kv_type", kv_type);
    visit("backend", backend);
    visit("math", math);
  }
};

// The runner takes links of other ranks on this port, on all interfaces, from the ranks that have its key.
struct Listening {
  uint16_t port = 0;
  template <class Visitor>
  void fields(Visitor& visit) {
    visit("port", port);
  }
};

struct RankAddress {
  int32_t rank = 0;
  std::string host;  // numeric, as this device reaches it
  uint16_t port = 0;
  std::string name;  // for messages
  template <class Visitor>
  void fields(Visitor& visit) {
    visit("rank", rank);
    visit("host", host);
    visit("port", port);
    visit("name", name);
  }
};

struct ConnectCommand {
  uint64_t instance = 0;           // all ranks of one attempt have the same number
  std::string key;                 // 64 hex digits; "": links are not encrypted
  std::vector<RankAddress> ranks;  // all others
  double timeout_seconds = 10;  // to connect; loading may take longer, and is waited for separately
  template <class Visitor>
  void fields(Visitor& visit) {
    visit("instance", instance);
    visit("key", key);
    visit("ranks", ranks);
    visit("timeout_seconds", timeout_seconds);
  }
};

// To be one of two that find out how fast a link between them is; no model is loaded.
struct MeasureCommand {
  int32_t rank = 0;       // 0 or 1
  std::string transport;  // what they are to be linked by
  template <class Visitor>
  void fields(Visitor& visit) {
    visit("rank", rank);
    visit("transport", transport);
  }
};

struct LinkMeasurement {
  std::string transport;  // as found: "verbs-uc" where "verbs" was asked for and there is no other
  double rtt_us_p50 = 0;  // of a small message, as a group sends it, and back
  double rtt_us_p99 = 0;
  double bandwidth_mbit_per_s = 0;  // one way
  template <class Visitor>
  void fields(Visitor& visit) {
    visit("transport", transport);
    visit("rtt_us_p50", rtt_us_p50);
    visit("rtt_us_p99", rtt_us_p99);
    visit("bandwidth_mbit_per_s", bandwidth_mbit_per_s);
  }
};

struct LoadProgress {
  int32_t layers_loaded = 0;
  int32_t total_layers = 0;
  template <class Visitor>
  void fields(Visitor& visit) {
    visit("layers_loaded", layers_loaded);
    visit("total_layers", total_layers);
  }
};

// What this rank is linked to another by.
struct RankLink {
  int32_t rank = 0;  // the other
  std::string transport;
  template <class Visitor>
  void fields(Visitor& visit) {
    visit("rank", rank);
    visit("transport", transport);
  }
};

struct ReadyInfo {
  std::string architecture;
  std::string backend;  // "cpu: AVX-512 VNNI BF16, 2 threads"
  int32_t context_length = 0;
  uint64_t weight_bytes = 0, kv_bytes = 0, rss_bytes = 0;
  double load_seconds = 0;
  std::vector<RankLink> links;
  template <class Visitor>
  void fields(Visitor& visit) {
    visit("links", links);
    visit("architecture", architecture);
    visit("backend", backend);
    visit("context_length", context_length);
    visit("weight_bytes", weight_bytes);
    visit("kv_bytes", kv_bytes);
    visit("rss_bytes", rss_bytes);
    visit("load_seconds", load_seconds);
  }
};

struct Failure {
  std::string code;  // code_name()
  std::string message;
  template <class Visitor>
  void fields(Visitor& visit) {
    visit("code", code);
    visit("message", message);
  }
};

// What a dialect decodes a body into; nothing below knows dialects.
struct GenerateRequest {
  uint64_t id = 0;                    // unique on this stream
  std::optional<Json> messages;       // a chat, rendered by the model's template; or
  std::optional<std::string> prompt;  // plain text (post-processor's BOS is added); or
  std::optional<std::vector<int32_t>> prompt_tokens;
  std::optional<Json> tools;
  Json template_options = Json::object();  // enable_thinking, reasoning_effort...
  std::vector<int32_t> generated;          // tokens an earlier placement already sent
  int32_t max_tokens = 0;                  // 0: up to the context limit
  int32_t choices = 1;
  bool echo = false;  // completions: the prompt's text comes first
  RequestedSampling sampling;
  std::vector<std::string> stop;

  template <class Visitor>
  void fields(Visitor& visit) {
    visit("id", id);
    visit("messages", messages);
    visit("prompt", prompt);
    visit("prompt_tokens", prompt_tokens);
    visit("tools", tools);
    visit("template_options", template_options);
    visit("generated", generated);
    visit("max_tokens", max_tokens);
    visit("choices", choices);
    visit("echo", echo);
    visit("sampling", sampling);
    visit("stop", stop);
  }
};

struct RequestRef {
  uint64_t id = 0;
  template <class Visitor>
  void fields(Visitor& visit) {
    visit("id", id);
  }
};

struct TokenLogprob {
  int32_t id = 0;
  std::string piece;  // as text; bytes of half a character are in `bytes` alone
  std::vector<uint8_t> bytes;
  float logprob = 0;
  template <class Visitor>
  void fields(Visitor& visit) {
    visit("id", id);
    visit("piece", piece);
    visit("bytes", bytes);
    visit("logprob", logprob);
  }
};

struct SampledLogprobs {
  TokenLogprob chosen;
  std::vector<TokenLogprob> top;
  template <class Visitor>
  void fields(Visitor& visit) {
    visit("chosen", chosen);
    visit("top", top);
  }
};

struct GenerateDelta {
  uint64_t id = 0;
  int32_t choice = 0;
  std::string text;
  std::vector<int32_t> tokens;
  std::vector<SampledLogprobs> logprobs;
  std::string finish_reason;  // "" while it goes on; stop | length | cancelled | error
  std::optional<Failure> error;
  // with a finish_reason:
  int32_t prompt_tokens = 0, cached_tokens = 0, completion_tokens = 0;
  double prefill_seconds = 0, decode_seconds = 0;

  template <class Visitor>
  void fields(Visitor& visit) {
    visit("id", id);
    visit("choice", choice);
    visit("text", text);
    visit("tokens", tokens);
    visit("logprobs", logprobs);
    visit("finish_reason", finish_reason);
    visit("error", error);
    visit("prompt_tokens", prompt_tokens);
    visit("cached_tokens", cached_tokens);
    visit("completion_tokens", completion_tokens);
    visit("prefill_seconds", prefill_seconds);
    visit("decode_seconds", decode_seconds);
  }
};

struct RunnerStats {
  int32_t running = 0, queued = 0;
  int32_t kv_pages_total = 0, kv_pages_used = 0, kv_pages_cached = 0;
  uint64_t prompt_tokens = 0, cached_tokens = 0, generated_tokens = 0;
  uint64_t rss_bytes = 0;
  template <class Visitor>
  void fields(Visitor& visit) {
    visit("running", running);
    visit("queued", queued);
    visit("kv_pages_total", kv_pages_total);
    visit("kv_pages_used", kv_pages_used);
    visit("kv_pages_cached", kv_pages_cached);
    visit("prompt_tokens", prompt_tokens);
    visit("cached_tokens", cached_tokens);
    visit("generated_tokens", generated_tokens);
    visit("rss_bytes", rss_bytes);
  }
};

}  // namespace cohort::runner
