// `cohort perplexity`: how well a model foretells a text, and how far its distributions are from those of a reference.
//
// The text is cut into windows of --context tokens. Each is read anew, in steps of --chunk tokens, and the tokens of its
// second half are scored, so that each has at least half a window before it (as llama.cpp's tool does).
#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

#include "base/bytes.h"
#include "cli/commands.h"
#include "cli/input.h"
#include "cli/model_store.h"
#include "cli/terminal.h"
#include "models/divergence.h"
#include "runner/local_ranks.h"
#include "runner/model_files.h"
#include "text/tokenizer.h"

namespace cohort::cli {
namespace {

using text::TokenId;

std::string kv_type_of(const std::string& math, const std::string& asked) {
  return !asked.empty() ? asked : math == "f32" ? "f32" : "f16";
}

// One model that reads windows of a text.
class Reader {
 public:
  static Result<Reader> open(const std::string& source, const std::string& math,
                             const std::string& kv_type, const PerplexityOptions& options) {
    runner::LocalRanksOptions local{
        .command = {.model = source, .threads = options.threads, .kv_type = kv_type, .math = math},
        .kv_pages = divide_up(options.context, backend::kPageTokens)};
    COHORT_TRY(const formats::Checkpoint checkpoint, runner::open_checkpoint(source));
    COHORT_TRY(const int32_t layers, runner::layers_of(checkpoint));
    COHORT_TRY(local.command.group, runner::make_layout({.layers = layers}));
    COHORT_TRY(auto ranks, runner::LocalRanks::start(local));
    return Reader(std::move(ranks), local.kv_pages);
  }

  int32_t vocab_size() const { return ranks_->first().model->info().vocab_size; }

  // Logits of `tokens`, which stand at `position` of the window; those before have been read.
  Result<std::span<const float>> read(std::span<const TokenId> tokens, int32_t position) {
    backend::StepPlan plan{.tokens = {tokens.begin(), tokens.end()}};
    plan.runs.push_back(
        {.rows = static_cast<int32_t>(tokens.size()), .first_position = position, .pages = pages_});
    plan.logits_rows.resize(tokens.size());
    std::iota(plan.logits_rows.begin(), plan.logits_rows.end(), 0);
    logits_.resize(tokens.size() * static_cast<size_t>(vocab_size()));
    COHORT_TRY_VOID(ranks_->executor().run(plan, logits_));
    return std::span<const float>(logits_);
  }

 private:
  Reader(std::unique_ptr<runner::LocalRanks> ranks, int32_t pages) : ranks_(std::move(ranks)) {
    pages_.resize(static_cast<size_t>(pages));
    std::iota(pages_.begin(), pages_.end(), 0);
  }

  std::unique_ptr<runner::LocalRanks> ranks_;
  std::vector<int32_t> pages_;
  std::vector<float> logits_;
};

// Of the tokens that came, under the model.
class Surprise {
 public:
  void add(double negative_log_likelihood) {
    sum_ += negative_log_likelihood;
    squares_ += negative_log_likelihood * negative_log_likelihood;
    ++tokens_;
  }
  int64_t tokens() const { return tokens_; }
  double perplexity() const { return std::exp(mean()); }
  double standard_error() const {  // of perplexity()
    const double variance = squares_ / count() - mean() * mean();
    return perplexity() * std::sqrt(std::max(variance, 0.0) / count());
  }

 private:
  double count() const { return static_cast<double>(std::max<int64_t>(tokens_, 1)); }
  double mean() const { return sum_ / count(); }

  double sum_ = 0, squares_ = 0;
  int64_t tokens_ = 0;
};

struct Score {
  Surprise surprise;
  std::optional<models::DivergenceMeter> divergence;  // from the reference
};

Result<void> score_window(Reader& reader, Reader* reference, std::span<const TokenId> window,
                          int32_t chunk, Score& score) {
  const auto size = static_cast<int32_t>(window.size());
  const auto columns = static_cast<size_t>(reader.vocab_size());
  for (int32_t at = 0; at < size; at += chunk) {
    const auto tokens =
        window.subspan(static_cast<size_t>(at), static_cast<size_t>(std::min(chunk, size - at)));
    COHORT_TRY(const std::span<const float> logits, reader.read(tokens, at));
    std::span<const float> wanted;
    if (reference != nullptr) {
      COHORT_TRY(wanted, reference->read(tokens, at));
    }
    const auto rows = static_cast<int32_t>(tokens.size());
    for (int32_t row = std::max(0, size / 2 - at); row < rows && at + row + 1 < size; ++row) {
      const size_t first = static_cast<size_t>(row) * columns;
      const auto next = static_cast<size_t>(window[static_cast<size_t>(at + row) + 1]);
      score.surprise.add(-models::log_softmax(logits.subspan(first, columns))[next]);
      if (score.divergence) {
        score.divergence->add(logits.subspan(first, columns), wanted.subspan(first, columns),
                              columns);
      }
    }
  }
  return {};
}

Result<std::vector<TokenId>> tokens_of(const std::string& source,
                                       const PerplexityOptions& options) {
  COHORT_TRY(const runner::ModelFiles files, runner::read_model_files(source));
  if (files.tokenizer.empty()) return fail(Code::kNotFound, "{} has no tokenizer.json", source);
  COHORT_TRY(const auto tokenizer, text::load_tokenizer(files.tokenizer));
  COHORT_TRY(const std::string text, read_input(options.file));
  std::vector<TokenId> tokens = tokenizer->encode(text, true);
  if (tokens.size() < static_cast<size_t>(options.context)) {
    return fail(Code::kInvalidArgument,
                "{} has {} tokens, fewer than one window; use --context {} or less",
                options.file.string(), tokens.size(), tokens.size());
  }
  return tokens;
}

Result<std::optional<Reader>> open_reference(const StoreOptions& store, const std::string& source,
                                             const PerplexityOptions& options, int32_t vocab_size) {
  if (options.against.empty() && options.against_math.empty()) return std::optional<Reader>();
  std::string other = source;
  if (!options.against.empty()) {
    COHORT_TRY(other, model_source(store, options.against));
  }
  const std::string math = options.against_math.empty() ? "f32" : options.against_math;
  COHORT_TRY(Reader reader, Reader::open(other, math, kv_type_of(math, ""), options));
  if (reader.vocab_size() != vocab_size) {
    return fail(Code::kInvalidArgument, "{} has {} logits, {} has {}: they cannot be compared",
                options.against, reader.vocab_size(), options.model, vocab_size);
  }
  return std::optional<Reader>(std::move(reader));
}

Json score_json(const PerplexityOptions& options, const Score& score) {
  Json json{{"model", options.model},
            {"math", options.math},
            {"kv_type", kv_type_of(options.math, options.kv_type)},
            {"context", options.context},
            {"chunk", options.chunk},
            {"tokens", score.surprise.tokens()},
            {"perplexity", score.surprise.perplexity()},
            {"standard_error", score.surprise.standard_error()}};
  if (score.divergence) {
    json["against"] = options.against.empty() ? options.model : options.against;
    const Json figures = to_json(score.divergence->result());
    for (const auto& [key, value] : figures.items()) json[key] = value;
  }
  return json;
}

Result<Score> score_text(const StoreOptions& store, const PerplexityOptions& options) {
  COHORT_TRY(const std::string source, model_source(store, options.model));
  COHORT_TRY(const std::vector<TokenId> tokens, tokens_of(source, options));
  COHORT_TRY(Reader reader, Reader::open(source, options.math,
                                         kv_type_of(options.math, options.kv_type), options));
  COHORT_TRY(std::optional<Reader> reference,
             open_reference(store, source, options, reader.vocab_size()));
  Score score;
  if (reference) score.divergence.emplace();
  int64_t windows = static_cast<int64_t>(tokens.size()) / options.context;
  if (options.windows > 0) windows = std::min<int64_t>(windows, options.windows);
  Progress progress(options.model);
  for (int64_t i = 0; i < windows; ++i) {
    const auto window = std::span(tokens).subspan(static_cast<size_t>(i * options.context),
                                                  static_cast<size_t>(options.context));
    COHORT_TRY_VOID(
        score_window(reader, reference ? &*reference : nullptr, window, options.chunk, score));
    progress.update_count(i + 1, windows, "windows");
  }
  return score;
}

void print_score(const Score& score) {
  fmt::print("perplexity {:.4f} +- {:.4f} over {} tokens\n", score.surprise.perplexity(),
             score.surprise.standard_error(), score.surprise.tokens());
  if (!score.divergence) return;
  const models::Divergence divergence = score.divergence->result();
  fmt::print("KL mean {:.2e}, largest {:.2e}; likeliest token agrees in {:.1f}% of rows\n",
             divergence.kl_mean, divergence.kl_max, divergence.top1_agreement * 100);
}

}  // namespace

int perplexity(const Common& common, const StoreOptions& store, const PerplexityOptions& options) {
  const Result<Score> score = score_text(store, options);
  if (!score) return report(score.error());
  if (common.json) return print_json(score_json(options, *score));
  print_score(*score);
  return kExitFine;
}

}  // namespace cohort::cli
