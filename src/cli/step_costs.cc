#include "cli/step_costs.h"

#include <sys/socket.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <optional>
#include <vector>

#include "backend/cpu/machine_limits.h"
#include "backend/cpu/memory.h"
#include "base/bytes.h"
#include "base/check.h"
#include "cli/median.h"
#include "cli/patience.h"
#include "cli/read_times.h"
#include "cli/synthetic_model.h"
#include "cluster/cost.h"
#include "formats/checkpoint.h"
#include "models/model.h"
#include "transport/local_groups.h"
#include "transport/socket.h"

namespace cohort::cli {
namespace {

constexpr int kSteps = 40;
constexpr std::chrono::seconds kMostTime{40};  // of all figures; the daemon gives up after 90
constexpr int kMessages = 400, kColdMessages = 150;
constexpr size_t kColdBytes = 8 << 20;  // more than a core's own caches hold
constexpr size_t kSmallBytes = 64;      // as of the pings that measure a path
constexpr size_t kLargeBytes = 16 << 10;

// A layer of these weighs next to nothing, one of the others 34 MB and 9 MB at four bits.
constexpr ModelShape kThin{
    .width = 64, .heads = 1, .kv_heads = 1, .head_dim = 64, .feed_forward = 64, .vocabulary = 64};
constexpr int kFewLayers = 2, kManyLayers = 18;
constexpr ModelShape kThick{.width = 2048,
                            .heads = 32,
                            .kv_heads = 8,
                            .head_dim = 64,
                            .feed_forward = 8192,
                            .vocabulary = 64};
constexpr ModelShape kSlim{.width = 1024,
                           .heads = 16,
                           .kv_heads = 4,
                           .head_dim = 64,
                           .feed_forward = 4096,
                           .vocabulary = 64};

// As many layers as weigh so much without their scales: a cache of 32 MB keeps little of it from one step to the next, and a
// model is larger. With a larger cache twice as many. The same for each, for what a cache keeps depends on it.
constexpr double kFormatBytes = 175e6;
struct MeasuredFormat {
  const char* name;
  int32_t bits;
  bool mxfp4 = false;
};
constexpr MeasuredFormat kMeasuredFormats[] = {
    {"q4", 4}, {"q8", 8}, {"bf16", 16}, {"mxfp4", 4, true}};
constexpr uint64_t kAmpleBytes = uint64_t{3} << 30;  // with less available, half the layers
constexpr uint64_t kCommonBytes = 256u << 20;        // of backend::uncached_bytes()
constexpr int32_t kMostTimes = 2;
constexpr int kWarmUpSteps = 2, kFormatRounds = 3, kTokensPerLook = 4, kPrefillSteps = 3;
constexpr std::chrono::milliseconds kMostOfWeights{600}, kMostOfAPrompt{500};
constexpr int32_t kPrefillRows = cluster::kPrefillChunk;

constexpr ModelShape kLongSighted{.layers = 16,
                                  .width = 64,
                                  .heads = 32,
                                  .kv_heads = 8,
                                  .head_dim = 64,
                                  .feed_forward = 64,
                                  .vocabulary = 64};
constexpr int32_t kPastTokens = 1024, kPastChunk = 128;  // 32 MB of KV in bf16
constexpr int kPastRounds = 7, kChunkRounds = 3;
constexpr std::chrono::seconds kMostFilling{2};  // a slow device looks back on fewer
constexpr std::chrono::seconds kMostChunks{1};   // of chunks behind them

// What memory gives in the midst of other measurements.
class MemoryWatch {
 public:
  explicit MemoryWatch(const backend::Choice& choice) {
    if (choice.name != "cpu") return;
    if (auto reader = backend::MemoryReader::create(choice.threads))
      reader_.emplace(*std::move(reader));
  }

  // Bytes a second, as the daemon measures them before it plans (node/memory_gauge.h). 0: not known.
  double look() {
    if (!reader_) return 0;
    looks_.push_back(reader_->bytes_per_s());
    return looks_.back();
  }
  double bytes_per_s() const { return median(looks_); }  // of all that was seen; 0: nothing

 private:
  std::optional<backend::MemoryReader> reader_;
  std::vector<double> looks_;
};

double operations_per_token(const ModelShape& shape) {
  const double heads = shape.head_dim * (2.0 * shape.heads + 2.0 * shape.kv_heads);
  return 2.0 * shape.layers * shape.width * (heads + 3.0 * shape.feed_forward);
}

// One model alone on a backend, asked for one token after the other.
class Decoding {
 public:
  static Result<std::unique_ptr<Decoding>> start(const ModelShape& shape,
                                                 const backend::Choice& choice) {
    std::unique_ptr<Decoding> decoding(new Decoding(shape));
    const SyntheticFiles& files = decoding->files_;
    COHORT_TRY(auto checkpoint, formats::Checkpoint::from_memory(
                                    files.config, {std::as_bytes(std::span(files.weights))}));
    decoding->checkpoint_.emplace(std::move(checkpoint));
    COHORT_TRY(decoding->backend_, backend::make_backend(choice));
    COHORT_TRY(decoding->model_,
               models::make_model(*decoding->checkpoint_, {}, *decoding->backend_));
    COHORT_TRY_VOID(decoding->backend_->create_kv(decoding->model_->info().kv, kPages));
    return decoding;
  }

  // `rows` tokens more in one step.
  Result<void> step(int32_t rows) {
    plan_.tokens.assign(static_cast<size_t>(rows), 1);
    plan_.runs[0].rows = rows;
    plan_.logits_rows[0] = rows - 1;
    backend_->begin_step(plan_);
    COHORT_TRY_VOID(backend_->read(model_->forward(*backend_, plan_, {}), logits_));
    plan_.runs[0].first_position += rows;
    return {};
  }

  void rewind(int32_t position = 0) { plan_.runs[0].first_position = position; }

  Result<double> step_seconds(int32_t rows, int steps) {
    return median_seconds({.tries = steps, .most = kMostOfAPrompt},
                          [this, rows] { return step(rows); });
  }
  Result<double> token_seconds(int steps = kSteps) { return step_seconds(1, steps); }

  uint64_t weight_bytes() const { return backend_->info().weight_bytes; }
  uint64_t kv_bytes_per_token() const {
    return backend::kv_page_bytes(model_->info().kv) / backend::kPageTokens;
  }

 private:
  static constexpr int32_t kPages = divide_up(kPastTokens + 4 * kSteps, backend::kPageTokens);

  explicit Decoding(const ModelShape& shape)
      : files_(synthetic_files(shape)), logits_(static_cast<size_t>(shape.vocabulary)) {
    plan_.runs.resize(1);
    plan_.logits_rows.resize(1);
    plan_.runs[0].pages.resize(kPages);
    std::iota(plan_.runs[0].pages.begin(), plan_.runs[0].pages.end(), 0);
  }

  SyntheticFiles files_;
  std::optional<formats::Checkpoint> checkpoint_;
  std::unique_ptr<backend::Backend> backend_;
  std::unique_ptr<models::Model> model_;
  backend::StepPlan plan_;
  std::vector<float> logits_;
};

Result<double> time_token(const ModelShape& shape, const backend::Choice& choice) {
  COHORT_TRY(const auto decoding, Decoding::start(shape, choice));
  return decoding->token_seconds();
}

// By how much a measured model is larger than it need be: as a cache is larger than is common, or smaller where memory is
// short.
double outgrowing_cache() {
  const uint64_t available = backend::available_memory_bytes();
  if (available < kAmpleBytes) return 0.5;
  const uint64_t times =
      std::min(backend::uncached_bytes() / kCommonBytes, available / kAmpleBytes);
  return std::clamp(static_cast<int>(times), 1, kMostTimes);
}

int32_t layers_of(double weight_bytes, ModelShape shape) {
  shape.layers = 1;
  const double layer_bytes = operations_per_token(shape) / 2 * shape.bits / 8;
  return static_cast<int32_t>(std::ceil(weight_bytes / layer_bytes));
}

// Attention to past tokens.
struct PastCosts {
  ReadTimes token;  // of one row, which reads them
  // Of many rows, as of a prompt. 0: they took no longer than without a past.
  double operations_per_s = 0;
};

// A chunk of a prompt in turns with and without `past` tokens behind it.
Result<double> chunk_operations_per_s(Decoding& decoding, const ModelShape& shape, int32_t past) {
  const Deadline<> rounds(kMostChunks);
  std::vector<double> differences;
  const auto chunk_after = [&](int32_t position) {
    decoding.rewind(position);
    return decoding.step_seconds(kPastChunk, 1);
  };
  do {
    COHORT_TRY(const double without_s, chunk_after(0));
    COHORT_TRY(const double with_s, chunk_after(past));
    differences.push_back(with_s - without_s);
  } while (differences.size() < kChunkRounds && !rounds.over());
  const double operations = 4.0 * shape.heads * shape.head_dim * shape.layers * kPastChunk * past;
  const double seconds = median(differences);
  return seconds > 0 ? operations / seconds : 0;
}

Result<PastCosts> measure_past(const backend::Choice& choice, const Deadline<>& deadline,
                               MemoryWatch& watch) {
  ModelShape shape = kLongSighted;
  shape.layers = static_cast<int32_t>(std::ceil(shape.layers * outgrowing_cache()));
  COHORT_TRY(const auto decoding, Decoding::start(shape, choice));
  COHORT_TRY_VOID(decoding->token_seconds());
  COHORT_TRY_VOID(deadline.check("attention to past tokens"));
  const Deadline<> filling(kMostFilling);
  int32_t past = 0;
  decoding->rewind();
  for (; past < kPastTokens && !filling.over(); past += kPastChunk) {
    COHORT_TRY_VOID(decoding->step(kPastChunk));
  }
  const double bytes = static_cast<double>(decoding->kv_bytes_per_token()) * past;
  // Between two tokens a model reads its weights, so a look at memory goes before each.
  const auto token_after = [&](int32_t position) -> Result<double> {
    watch.look();
    decoding->rewind(position);
    return decoding->step_seconds(1, 1);
  };
  PastCosts costs{.token = ReadTimes(bytes)};
  COHORT_TRY(costs.operations_per_s, chunk_operations_per_s(*decoding, shape, past));
  for (int i = 0; i < kPastRounds; ++i) {
    COHORT_TRY(const double without_s, token_after(0));
    COHORT_TRY(const double with_s, token_after(past));
    costs.token.add(with_s - without_s, watch.bytes_per_s());
  }
  return costs;
}

Result<double> time_bare_message(size_t size) {
  COHORT_TRY(const auto sockets, transport::tcp_pair());
  std::vector<char> bytes(size);
  return median_seconds({.tries = kMessages}, [&]() -> Result<void> {
    const ssize_t sent = ::send(sockets.first.get(), bytes.data(), size, transport::kSendFlags);
    const ssize_t got = ::recv(sockets.second.get(), bytes.data(), size, MSG_WAITALL);
    if (sent == static_cast<ssize_t>(size) && got == sent) return {};
    return fail(Code::kUnavailable, "a local connection moved {} of {} bytes", got, size);
  });
}

// Reads so much else that a core's own caches forget what sending and receiving needs, as between a step's sums.
class Oblivion {
 public:
  void operator()() { sum_ = std::accumulate(words_.begin(), words_.end(), sum_); }
  uint64_t sum() const { return sum_; }

 private:
  std::vector<uint64_t> words_ = std::vector<uint64_t>(kColdBytes / sizeof(uint64_t), 1);
  uint64_t sum_ = 0;
};

Result<double> time_link_message(size_t size) {
  COHORT_TRY(const transport::LinkTable links,
             transport::make_local_links(
                 {.size = 2, .type = transport::LinkType::kTcp, .secret = transport::LinkKey{}}));
  transport::Link& from = *links[0][1];
  transport::Link& to = *links[1][0];
  const std::vector<std::byte> bytes(size);
  Oblivion forget;
  const auto move_one = [&]() -> Result<void> {
    for (bool sent = false; !sent;) {
      COHORT_TRY(sent, from.try_send({.total = size, .payload = bytes}));
    }
    for (bool received = false; !received;) {
      COHORT_TRY(const auto message, to.try_receive());
      received = message.has_value();
    }
    to.release();
    return {};
  };
  const auto seconds = median_seconds({.tries = kColdMessages}, move_one, [&forget] { forget(); });
  COHORT_CHECK(forget.sum() > 0);  // the reading cannot be left out
  return seconds;
}

// So many rows of a prompt as a device computes in the time of a figure, up to a chunk. A row may take a token's time or far
// less, so each guess is tried out, which also takes the memory that a step of so many rows wants.
Result<int32_t> affordable_rows(Decoding& decoding, double token_s) {
  double row_s = token_s;
  int32_t rows = 0, before = 0;
  do {
    before = rows;
    const double enough = Patience{}.most.count() / std::max(row_s, 1e-9);
    rows = std::max(before, static_cast<int32_t>(std::clamp(enough, 2.0, double{kPrefillRows})));
    decoding.rewind();
    COHORT_TRY(const double step_s, decoding.step_seconds(rows, 1));
    row_s = step_s / rows;
  } while (rows < kPrefillRows && rows > before + before / 2);
  decoding.rewind();
  return rows;
}

// Tokens in turns with looks at memory.
Result<void> time_weights(Decoding& decoding, MemoryWatch& watch, ReadTimes& times) {
  using Clock = std::chrono::steady_clock;
  const auto ends = Clock::now() + kMostOfWeights;
  int rounds = 0;
  do {
    const double memory = watch.look();
    COHORT_TRY_VOID(decoding.token_seconds(kWarmUpSteps));  // a look empties caches
    COHORT_TRY(const double token_s, decoding.token_seconds(kTokensPerLook));
    times.add(token_s, memory);
  } while (++rounds < kFormatRounds && Clock::now() < ends);
  return {};
}

// A model at work.
struct Workload {
  int32_t layers = 0;
  ReadTimes weights;
  double operations = 0, rows_s = 0;  // of many rows, if they were asked for
};

Result<Workload> measure_work(ModelShape shape, bool of_prompts, const backend::Choice& choice,
                              MemoryWatch& watch) {
  shape.layers = layers_of(kFormatBytes * outgrowing_cache(), shape);
  COHORT_TRY(const auto decoding, Decoding::start(shape, choice));
  COHORT_TRY(const double token_s, decoding->token_seconds(kWarmUpSteps));
  Workload work{.layers = shape.layers,
                .weights = ReadTimes(static_cast<double>(decoding->weight_bytes()))};
  // Before the prompt and after it, for what disturbs memory does so for a second or less.
  COHORT_TRY_VOID(time_weights(*decoding, watch, work.weights));
  if (of_prompts) {
    COHORT_TRY(const int32_t rows, affordable_rows(*decoding, token_s));
    COHORT_TRY(work.rows_s, decoding->step_seconds(rows, kPrefillSteps));
    work.operations = operations_per_token(shape) * rows;
    decoding->rewind();
  }
  COHORT_TRY_VOID(time_weights(*decoding, watch, work.weights));
  return work;
}

Result<Workload> measure_format(const MeasuredFormat& format, const backend::Choice& choice,
                                MemoryWatch& watch) {
  ModelShape shape = kThick;
  shape.bits = format.bits;
  shape.mxfp4 = format.mxfp4;
  return measure_work(shape, true, choice, watch);
}

}  // namespace

Result<StepCosts> measure_step_costs(const backend::Choice& choice) {
  const Deadline<> deadline(kMostTime);
  ModelShape few = kThin, many = kThin;
  few.layers = kFewLayers;
  many.layers = kManyLayers;
  COHORT_TRY(const double short_s, time_token(few, choice));
  COHORT_TRY(const double long_s, time_token(many, choice));
  MemoryWatch watch(choice);
  std::vector<Workload> formats;
  for (const MeasuredFormat& format : kMeasuredFormats) {
    COHORT_TRY_VOID(deadline.check(format.name));
    COHORT_TRY(formats.emplace_back(), measure_format(format, choice, watch));
  }
  COHORT_TRY_VOID(deadline.check("slim layers"));
  COHORT_TRY(const Workload slim, measure_work(kSlim, false, choice, watch));
  COHORT_TRY(const PastCosts past, measure_past(choice, deadline, watch));
  StepCosts costs;
  const double bare_layer_s = std::max(0.0, (long_s - short_s) / (kManyLayers - kFewLayers));
  costs.step_s = std::max(0.0, short_s - kFewLayers * bare_layer_s);
  costs.layer_s = std::max(bare_layer_s, layer_seconds(slim.weights, slim.layers,
                                                       formats[0].weights, formats[0].layers));
  costs.read_bytes_per_s = watch.bytes_per_s();
  costs.kv_bytes_per_s = past.token.bytes_per_s(costs.read_bytes_per_s, 0);
  costs.attention_operations_per_s = past.operations_per_s;
  for (size_t i = 0; i < formats.size(); ++i) {
    const Workload& work = formats[i];
    const double fixed_s = costs.step_s + work.layers * costs.layer_s;
    costs.formats.push_back({kMeasuredFormats[i].name,
                             work.weights.bytes_per_s(costs.read_bytes_per_s, fixed_s),
                             work.operations / std::max(work.rows_s - fixed_s, work.rows_s / 2)});
  }
  return costs;
}

Result<MessageCosts> measure_message_costs() {
  COHORT_TRY(const double bare_s, time_bare_message(kSmallBytes));
  COHORT_TRY(const double small_s, time_link_message(kSmallBytes));
  COHORT_TRY(const double large_s, time_link_message(kLargeBytes));
  const double bytes = static_cast<double>(kLargeBytes - kSmallBytes);
  return MessageCosts{.message_s = std::max(0.0, small_s - bare_s),
                      .byte_s = std::max(0.0, (large_s - small_s) / bytes)};
}

}  // namespace cohort::cli
