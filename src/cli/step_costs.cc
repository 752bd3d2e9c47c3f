#include "cli/step_costs.h"

#include <sys/socket.h>

#include <algorithm>
#include <memory>
#include <numeric>
#include <optional>
#include <vector>

#include "backend/cpu/machine_limits.h"
#include "backend/cpu/memory.h"
#include "base/bytes.h"
#include "cli/median.h"
#include "cli/patience.h"
#include "cli/synthetic_model.h"
#include "cluster/cost.h"
#include "formats/checkpoint.h"
#include "models/model.h"
#include "transport/local_groups.h"
#include "transport/socket.h"

namespace cohort::cli {
namespace {

constexpr int kSteps = 40;
constexpr std::chrono::seconds kMostTime{40};  // of all figures; the daemon gives up after 60
constexpr int kMessages = 400;
constexpr size_t kSmallBytes = 64;  // as of the pings that measure a path
constexpr size_t kLargeBytes = 16 << 10;

// A layer of these weighs next to nothing, one of the others 34 MB at four bits.
constexpr ModelShape kThin{
    .width = 64, .heads = 1, .kv_heads = 1, .head_dim = 64, .feed_forward = 64, .vocabulary = 64};
constexpr int kFewLayers = 2, kManyLayers = 18;
constexpr ModelShape kThick{.width = 2048,
                            .heads = 32,
                            .kv_heads = 8,
                            .head_dim = 64,
                            .feed_forward = 8192,
                            .vocabulary = 64};

// Two hundred megabytes or more of each where there is memory: a cache of 32 MB keeps a twentieth of a hundred from one step
// to the next, and a model is larger. With a larger cache twice as many.
struct MeasuredFormat {
  const char* name;
  int32_t layers, bits;
  bool mxfp4 = false;
};
constexpr MeasuredFormat kMeasuredFormats[] = {
    {"q4", 6, 4}, {"q8", 4, 8}, {"bf16", 2, 16}, {"mxfp4", 6, 4, true}};
constexpr uint64_t kAmpleBytes = uint64_t{3} << 30;  // with less available, half the layers
constexpr uint64_t kCommonBytes = 256u << 20;        // of backend::uncached_bytes()
constexpr int32_t kMostTimes = 2;
constexpr int kFormatSteps = 24, kPrefillSteps = 3;
constexpr std::chrono::milliseconds kMostOfAFormat{1000};  // for decoding, and for a prompt
constexpr int32_t kPrefillRows = cluster::kPrefillChunk;

constexpr ModelShape kLongSighted{.layers = 16,
                                  .width = 64,
                                  .heads = 32,
                                  .kv_heads = 8,
                                  .head_dim = 64,
                                  .feed_forward = 64,
                                  .vocabulary = 64};
constexpr int32_t kPastTokens = 1024, kPastChunk = 128;  // 32 MB of KV in bf16
constexpr std::chrono::seconds kMostFilling{2};          // a slow device looks back on fewer

// What memory gives in the midst of other measurements.
class MemoryWatch {
 public:
  explicit MemoryWatch(const backend::Choice& choice) {
    if (choice.name != "cpu") return;
    if (auto reader = backend::MemoryReader::create(choice.threads))
      reader_.emplace(*std::move(reader));
  }

  // At many pieces: some read at half the rate of the others, as parts of a token's reading do.
  void look() {
    constexpr int kPieces = 16;
    if (!reader_) return;
    double seconds_a_byte = 0;
    for (int i = 0; i < kPieces; ++i) seconds_a_byte += 1 / reader_->bytes_per_s();
    looks_.push_back(kPieces / seconds_a_byte);
  }
  size_t looks() const { return looks_.size(); }
  // The median of what was seen from look number `first` on; 0: nothing.
  double bytes_per_s(size_t first = 0) const {
    return median({looks_.begin() + static_cast<ptrdiff_t>(first), looks_.end()});
  }

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

  void rewind() { plan_.runs[0].first_position = 0; }

  Result<double> step_seconds(int32_t rows, int steps) {
    return median_seconds({.tries = steps, .most = kMostOfAFormat},
                          [this, rows] { return step(rows); });
  }
  Result<double> token_seconds() { return step_seconds(1, kSteps); }
  // With a look at memory before each.
  Result<double> token_seconds(int steps, MemoryWatch& watch) {
    return median_seconds(
        {.tries = steps, .most = kMostOfAFormat}, [this] { return step(1); },
        [&watch] { watch.look(); });
  }

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

// A rate, and what memory gave while it was measured; 0: not known.
struct MemoryRate {
  double bytes_per_s = 0, read_bytes_per_s = 0;

  // As it would have been, had memory given so much.
  double when(double read) const {
    return read > 0 && read_bytes_per_s > 0 ? bytes_per_s * read / read_bytes_per_s : bytes_per_s;
  }
  // The same of what no cache holds. A rate above memory's says that memory was looked at in a bad moment.
  double from_memory_when(double read) const {
    if (read <= 0) return bytes_per_s;
    return 1 / (cluster::own_byte_seconds(bytes_per_s, read_bytes_per_s) + 1 / read);
  }
};

// As many times the layers as a cache is larger than is common, or fewer than that where memory is short.
int32_t outgrow_cache(int32_t layers) {
  const uint64_t available = backend::available_memory_bytes();
  if (available < kAmpleBytes) return divide_up(layers, 2);
  const uint64_t times =
      std::min(backend::uncached_bytes() / kCommonBytes, available / kAmpleBytes);
  return layers * std::clamp(static_cast<int32_t>(times), 1, kMostTimes);
}

Result<MemoryRate> measure_kv_rate(const backend::Choice& choice, const Deadline<>& deadline,
                                   MemoryWatch& watch) {
  ModelShape shape = kLongSighted;
  shape.layers = outgrow_cache(shape.layers);
  COHORT_TRY(const auto decoding, Decoding::start(shape, choice));
  COHORT_TRY(const double without_s, decoding->token_seconds());
  COHORT_TRY_VOID(deadline.check("attention to past tokens"));
  const Deadline<> filling(kMostFilling);
  int32_t past = 0;
  for (; past < kPastTokens && !filling.over(); past += kPastChunk) {
    COHORT_TRY_VOID(decoding->step(kPastChunk));
  }
  const size_t first_look = watch.looks();
  COHORT_TRY(const double with_s, decoding->token_seconds(kSteps, watch));
  const double bytes = static_cast<double>(decoding->kv_bytes_per_token()) * past;
  return MemoryRate{with_s > without_s ? bytes / (with_s - without_s) : 0,
                    watch.bytes_per_s(first_look)};
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

Result<double> time_link_message(size_t size) {
  COHORT_TRY(const transport::LinkTable links,
             transport::make_local_links(
                 {.size = 2, .type = transport::LinkType::kTcp, .secret = transport::LinkKey{}}));
  transport::Link& from = *links[0][1];
  transport::Link& to = *links[1][0];
  const std::vector<std::byte> bytes(size);
  return median_seconds({.tries = kMessages}, [&]() -> Result<void> {
    for (bool sent = false; !sent;) {
      COHORT_TRY(sent, from.try_send({.total = size, .payload = bytes}));
    }
    for (bool received = false; !received;) {
      COHORT_TRY(const auto message, to.try_receive());
      received = message.has_value();
    }
    to.release();
    return {};
  });
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

struct FormatRates {
  MemoryRate weights;
  double operations_per_s = 0;
};

Result<FormatRates> measure_format(const MeasuredFormat& format, const StepCosts& costs,
                                   const backend::Choice& choice, MemoryWatch& watch) {
  ModelShape shape = kThick;
  shape.layers = outgrow_cache(format.layers);
  shape.bits = format.bits;
  shape.mxfp4 = format.mxfp4;
  COHORT_TRY(const auto decoding, Decoding::start(shape, choice));
  const size_t first_look = watch.looks();
  COHORT_TRY(const double token_s, decoding->token_seconds(kFormatSteps, watch));
  const double read = watch.bytes_per_s(first_look);
  COHORT_TRY(const int32_t rows, affordable_rows(*decoding, token_s));
  COHORT_TRY(const double rows_s, decoding->step_seconds(rows, kPrefillSteps));
  const double fixed_s = costs.step_s + shape.layers * costs.layer_s;
  const double reading_s = std::max(token_s - fixed_s, token_s / 2);
  return FormatRates{{static_cast<double>(decoding->weight_bytes()) / reading_s, read},
                     operations_per_token(shape) * rows / std::max(rows_s - fixed_s, rows_s / 2)};
}

}  // namespace

Result<StepCosts> measure_step_costs(const backend::Choice& choice) {
  const Deadline<> deadline(kMostTime);
  ModelShape few = kThin, many = kThin;
  few.layers = kFewLayers;
  many.layers = kManyLayers;
  COHORT_TRY(const double short_s, time_token(few, choice));
  COHORT_TRY(const double long_s, time_token(many, choice));
  StepCosts costs;
  costs.layer_s = std::max(0.0, (long_s - short_s) / (kManyLayers - kFewLayers));
  costs.step_s = std::max(0.0, short_s - kFewLayers * costs.layer_s);
  MemoryWatch watch(choice);
  std::vector<FormatRates> formats;
  for (const MeasuredFormat& format : kMeasuredFormats) {
    COHORT_TRY_VOID(deadline.check(format.name));
    COHORT_TRY(formats.emplace_back(), measure_format(format, costs, choice, watch));
  }
  COHORT_TRY(const MemoryRate kv, measure_kv_rate(choice, deadline, watch));
  costs.read_bytes_per_s = watch.bytes_per_s();
  costs.kv_bytes_per_s = kv.when(costs.read_bytes_per_s);
  for (size_t i = 0; i < formats.size(); ++i) {
    costs.formats.push_back({kMeasuredFormats[i].name,
                             formats[i].weights.from_memory_when(costs.read_bytes_per_s),
                             formats[i].operations_per_s});
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
