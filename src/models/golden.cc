#include "models/golden.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>

#include "base/bytes.h"
#include "formats/checkpoint.h"

namespace cohort::models {
namespace {

using backend::kPageTokens;
using backend::SequenceRun;
using backend::StepPlan;

template <class T>
Result<std::vector<T>> read_values(const formats::Checkpoint& file, std::string_view name,
                                   DType dtype, const Shape& shape) {
  COHORT_TRY(const TensorView view, file.tensor(name));
  if (view.dtype != dtype || view.shape != shape) {
    return fail(Code::kDataLoss, "golden.safetensors: '{}' is {} {}, not {} {}", name,
                dtype_name(view.dtype), view.shape.to_string(), dtype_name(dtype),
                shape.to_string());
  }
  std::vector<T> values(static_cast<size_t>(shape.elements()));
  std::memcpy(values.data(), view.data, view.size_bytes());
  return values;
}

Result<Shape> matrix_shape(const formats::Checkpoint& file, std::string_view name) {
  COHORT_TRY(const TensorView view, file.tensor(name));
  if (view.shape.rank() == 2 && view.shape.elements() > 0) return view.shape;
  return fail(Code::kDataLoss, "golden.safetensors: '{}' has shape {}, not rows of logits", name,
              view.shape.to_string());
}

// One sequence, fed piece by piece.
class Session {
 public:
  Session(const GoldenTarget& target, int32_t vocab_size, std::vector<int32_t> pages)
      : target_(target), vocab_size_(vocab_size), pages_(std::move(pages)) {}

  // Stands behind `position` positions that are in the cache already.
  void resume_at(int32_t position) { position_ = position; }

  // Logits of every token, appended to `logits`.
  Result<void> feed(std::span<const int32_t> tokens, std::vector<float>& logits) {
    const auto rows = static_cast<int32_t>(tokens.size());
    StepPlan plan{.tokens = {tokens.begin(), tokens.end()}, .runs = {}, .logits_rows = {}};
    plan.runs.push_back(
        SequenceRun{.first_row = 0, .rows = rows, .first_position = position_, .pages = pages_});
    plan.logits_rows.resize(tokens.size());
    std::iota(plan.logits_rows.begin(), plan.logits_rows.end(), 0);
    const size_t old = logits.size();
    logits.resize(old + tokens.size() * static_cast<size_t>(vocab_size_));
    COHORT_TRY_VOID(target_.step(plan, std::span(logits).subspan(old)));
    position_ += rows;
    return {};
  }

  Result<void> feed_in_chunks(std::span<const int32_t> tokens, int32_t chunk,
                              std::vector<float>& logits) {
    const size_t size = chunk > 0 ? static_cast<size_t>(chunk) : tokens.size();
    for (size_t at = 0; at < tokens.size(); at += size) {
      COHORT_TRY_VOID(feed(tokens.subspan(at, std::min(size, tokens.size() - at)), logits));
    }
    return {};
  }

 private:
  const GoldenTarget& target_;
  int32_t vocab_size_;
  std::vector<int32_t> pages_;
  int32_t position_ = 0;
};

int32_t pages_for(int32_t positions) { return divide_up(positions, kPageTokens); }

// A donor computes the prompt's front and goes on with other tokens. The sequence shares the pages that the front fills,
// and takes a copy of the one where it ends.
Result<Session> fork_from_donor(const Golden& golden, const GoldenTarget& target,
                                std::vector<int32_t> pages, std::vector<float>& logits,
                                int32_t& front) {
  const auto prompt = static_cast<int32_t>(golden.tokens.size());
  const int32_t own = static_cast<int32_t>(pages.size());
  front = prompt > kPageTokens ? prompt - kPageTokens / 2 : prompt / 2 + 1;
  front = std::min(front, prompt - 1);
  const std::vector<int32_t> donor_pages = [&] {
    std::vector<int32_t> list(pages.size());
    std::iota(list.begin(), list.end(), own);
    return list;
  }();
  Session donor(target, golden.vocab_size, donor_pages);
  COHORT_TRY_VOID(donor.feed(std::span(golden.tokens).first(static_cast<size_t>(front)), logits));
  const int32_t shared = front / kPageTokens;
  std::copy_n(donor_pages.begin(), shared, pages.begin());
  if (front % kPageTokens != 0) target.copy_kv_page(donor_pages[shared], pages[shared]);
  std::vector<float> ignored;
  const int32_t other = (golden.tokens[front] + 1) % golden.vocab_size;
  COHORT_TRY_VOID(donor.feed({&other, 1}, ignored));
  Session session(target, golden.vocab_size, std::move(pages));
  session.resume_at(front);
  return session;
}

GoldenDifference difference(std::span<const float> got, std::span<const float> wanted,
                            size_t columns) {
  std::vector<double> rows;
  for (size_t at = 0; at < wanted.size(); at += columns) {
    double largest = 0;
    for (size_t i = at; i < at + columns; ++i) {
      const double delta = std::abs(static_cast<double>(got[i]) - static_cast<double>(wanted[i]));
      largest =
          std::max(largest, std::isnan(delta) ? std::numeric_limits<double>::infinity() : delta);
    }
    rows.push_back(largest);
  }
  if (rows.empty()) return {};
  std::ranges::sort(rows);
  return {.max_abs = rows.back(), .row_max_median = rows[rows.size() / 2]};
}

bool greedy_agrees(const Golden& golden, std::span<const float> prefill,
                   std::span<const float> decode) {
  const auto columns = static_cast<size_t>(golden.vocab_size);
  for (size_t i = 0; i < golden.decode_tokens.size(); ++i) {
    const auto row = i == 0 ? prefill.last(columns) : decode.subspan((i - 1) * columns, columns);
    if (argmax(row) != golden.decode_tokens[i]) return false;
  }
  return true;
}

GoldenReport judge(const Golden& golden, std::span<const float> prefill,
                   std::span<const float> decode, const GoldenOptions& options) {
  const auto columns = static_cast<size_t>(golden.vocab_size);
  GoldenReport report{.prefill = difference(prefill, golden.logits_prefill, columns),
                      .decode = difference(decode, golden.logits_decode, columns),
                      .greedy_agree = greedy_agrees(golden, prefill, decode)};
  DivergenceMeter meter;
  meter.add(prefill, golden.logits_prefill, columns);
  meter.add(decode, golden.logits_decode, columns);
  report.divergence = meter.result();
  const auto within = [&](const GoldenDifference& d) {
    return (options.judge_by_median ? d.row_max_median : d.max_abs) <= options.tolerance;
  };
  report.pass = within(report.prefill) && within(report.decode) &&
                (options.judge_by_median || report.greedy_agree);
  return report;
}

}  // namespace

int32_t Golden::pages() const { return 2 * pages_for(positions() + 1); }

Result<Golden> read_golden(const std::filesystem::path& folder) {
  COHORT_TRY(const auto file, formats::Checkpoint::open(folder / "golden.safetensors"));
  COHORT_TRY(const Shape prefill, matrix_shape(file, "logits_prefill"));
  COHORT_TRY(const Shape decode, matrix_shape(file, "logits_decode"));
  Golden golden{.vocab_size = static_cast<int32_t>(prefill[1])};
  const Shape decode_shape{decode[0], prefill[1]};
  COHORT_TRY(golden.logits_prefill,
             read_values<float>(file, "logits_prefill", DType::kF32, prefill));
  COHORT_TRY(golden.logits_decode,
             read_values<float>(file, "logits_decode", DType::kF32, decode_shape));
  COHORT_TRY(golden.tokens, read_values<int32_t>(file, "tokens", DType::kI32, Shape{prefill[0]}));
  COHORT_TRY(golden.decode_tokens,
             read_values<int32_t>(file, "decode_tokens", DType::kI32, Shape{decode[0]}));
  for (const auto& tokens : {golden.tokens, golden.decode_tokens}) {
    for (const int32_t token : tokens) {
      if (token >= 0 && token < golden.vocab_size) continue;
      return fail(Code::kDataLoss, "golden.safetensors: token {} of a vocabulary of {}", token,
                  golden.vocab_size);
    }
  }
  return golden;
}

GoldenTarget golden_target(Model& model, backend::Backend& backend) {
  return {.step =
              [&model, &backend](const StepPlan& plan, std::span<float> logits) {
                backend.begin_step(plan);
                return backend.read(model.forward(backend, plan, {}), logits);
              },
          .copy_kv_page = [&backend](int32_t from, int32_t to) { backend.copy_kv_page(from, to); }};
}

Result<GoldenReport> compare_with_golden(const Golden& golden, const GoldenTarget& target,
                                         const GoldenOptions& options) {
  std::vector<int32_t> pages(static_cast<size_t>(golden.pages() / 2));
  std::iota(pages.begin(), pages.end(), 0);
  std::vector<float> prefill, decode;
  int32_t front = 0;
  Session session(target, golden.vocab_size, pages);
  std::optional<Session> forked;
  if (options.reuse_prefix && golden.tokens.size() > 1) {
    COHORT_TRY(Session fork, fork_from_donor(golden, target, pages, prefill, front));
    forked.emplace(std::move(fork));
  }
  Session& sequence = forked ? *forked : session;
  COHORT_TRY_VOID(sequence.feed_in_chunks(
      std::span(golden.tokens).subspan(static_cast<size_t>(front)), options.chunk, prefill));
  for (const int32_t token : golden.decode_tokens) {
    COHORT_TRY_VOID(sequence.feed({&token, 1}, decode));
  }
  return judge(golden, prefill, decode, options);
}

Result<GoldenReport> verify_checkpoint(const std::filesystem::path& folder,
                                       backend::Backend& backend, backend::KvType kv_type,
                                       const GoldenOptions& options) {
  COHORT_TRY(const Golden golden, read_golden(folder));
  COHORT_TRY(const auto checkpoint, formats::Checkpoint::open(folder));
  COHORT_TRY(const auto model, make_model(checkpoint, Shard{}, backend));
  if (model->info().vocab_size != golden.vocab_size) {
    return fail(Code::kDataLoss, "golden.safetensors has {} logits a row, the model {}",
                golden.vocab_size, model->info().vocab_size);
  }
  backend::KvSpec kv = model->info().kv;
  kv.type = kv_type;
  COHORT_TRY_VOID(backend.create_kv(kv, golden.pages()));
  return compare_with_golden(golden, golden_target(*model, backend), options);
}

}  // namespace cohort::models
