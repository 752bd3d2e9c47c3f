// `cohort bench`: prefill and decode of one model on this machine, beside the limits measured in the same run.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <deque>
#include <numeric>

#include "backend/choose.h"
#include "backend/cpu/cores.h"
#include "backend/cpu/machine_limits.h"
#include "base/bytes.h"
#include "cli/commands.h"
#include "cli/median.h"
#include "cli/model_cost.h"
#include "cli/model_store.h"
#include "cli/synthetic_model.h"
#include "cli/terminal.h"
#include "runner/process_memory.h"
#include "runner/kv_plan.h"
#include "runner/local_ranks.h"
#include "runner/model_files.h"

namespace cohort::cli {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int32_t kChunkRows = 512;
constexpr int32_t kStageRows = 256;  // of all stages together: smaller chunks fill them sooner

double seconds_since(Clock::time_point started) {
  return std::chrono::duration<double>(Clock::now() - started).count();
}

// Drives the executor directly: `streams` sequences side by side, each in KV pages of its own. As in an engine, steps of
// other streams, and of a prompt's next rows, are under way where there are stages to work on them.
class Drive {
 public:
  // Sequences begin at position `depth`. What is before it is zeros, but of pages that were written to: others are one page
  // of zeros to the OS, which no memory is read for.
  Drive(runner::LocalRanks& ranks, int32_t streams, int32_t depth, int32_t positions)
      : executor_(ranks.executor()),
        vocab_(ranks.first().model->info().vocab_size),
        depth_(depth),
        pages_(divide_up(depth + positions, backend::kPageTokens)) {
    positions_.assign(static_cast<size_t>(streams), depth);
    logits_.resize(static_cast<size_t>(streams) * static_cast<size_t>(vocab_));
    for (int32_t page = 1; depth > 0 && page < streams * pages_; ++page)
      executor_.copy_kv_page(0, page);
  }

  // `rows` more tokens on each stream, in chunks; logits of the last one.
  Result<void> prefill(int32_t rows) {
    const int32_t chunk = executor_.depth() == 1 ? kChunkRows : kStageRows / executor_.depth();
    for (int32_t done = 0; done < rows; done += chunk) {
      COHORT_TRY_VOID(
          begin({0, positions_.size()}, std::min(chunk, rows - done), executor_.depth()));
    }
    return finish_until(0);
  }

  // `tokens` more on each stream, one after the other.
  Result<void> decode(int32_t tokens) {
    const size_t streams = positions_.size();
    const size_t groups = std::min(streams, static_cast<size_t>(executor_.depth()));
    for (int32_t i = 0; i < tokens; ++i) {
      for (size_t g = 0; g < groups; ++g) {
        const Streams share{g * streams / groups, (g + 1) * streams / groups};
        COHORT_TRY_VOID(begin(share, 1, static_cast<int32_t>(groups)));
      }
    }
    return finish_until(0);
  }

  void rewind() { std::fill(positions_.begin(), positions_.end(), depth_); }

 private:
  struct Streams {
    size_t first = 0, end = 0;
  };

  // Waits until fewer than `most` steps are under way.
  Result<void> begin(Streams streams, int32_t rows, int32_t most) {
    COHORT_TRY_VOID(finish_until(static_cast<size_t>(most) - 1));
    backend::StepPlan& plan = under_way_.emplace_back();
    for (size_t stream = streams.first; stream < streams.end; ++stream) {
      backend::SequenceRun run{.first_row = static_cast<int32_t>(plan.tokens.size()),
                               .rows = rows,
                               .first_position = positions_[stream]};
      run.pages.resize(static_cast<size_t>(pages_));
      std::iota(run.pages.begin(), run.pages.end(), static_cast<int32_t>(stream) * pages_);
      for (int32_t row = 0; row < rows; ++row)
        plan.tokens.push_back((positions_[stream] + row) % vocab_);
      positions_[stream] += rows;
      plan.runs.push_back(std::move(run));
      plan.logits_rows.push_back(static_cast<int32_t>(plan.tokens.size()) - 1);
    }
    return executor_.begin(plan);
  }

  Result<void> finish_until(size_t left) {
    while (under_way_.size() > left) {
      const size_t rows = under_way_.front().logits_rows.size();
      COHORT_TRY_VOID(executor_.finish({logits_.data(), rows * static_cast<size_t>(vocab_)}));
      under_way_.pop_front();
    }
    return {};
  }

  runner::RankExecutor& executor_;
  const int32_t vocab_;
  const int32_t depth_;
  const int32_t pages_;  // of one stream
  std::vector<int32_t> positions_;
  std::vector<float> logits_;
  std::deque<backend::StepPlan> under_way_;
};

struct Samples {
  std::vector<double> prefill, decode;  // tokens/s, of all streams together
  double ttft_ms = 0;
};

Result<Samples> measure(runner::LocalRanks& ranks, const BenchOptions& options, int32_t streams,
                        Progress& progress) {
  Drive drive(ranks, streams, options.depth, options.pp + options.tg);
  Samples samples;
  std::vector<double> first;
  for (int32_t repeat = -1; repeat < options.repeat; ++repeat) {  // one round to warm up
    drive.rewind();
    const auto started = Clock::now();
    COHORT_TRY_VOID(drive.prefill(options.pp));
    const double prefill_s = seconds_since(started);
    const auto decoding = Clock::now();
    COHORT_TRY_VOID(drive.decode(options.tg));
    const double decode_s = seconds_since(decoding);
    progress.update_count(repeat + 1, options.repeat, "runs");
    if (repeat < 0) continue;
    samples.prefill.push_back(streams * options.pp / prefill_s);
    samples.decode.push_back(streams * options.tg / decode_s);
    first.push_back(prefill_s * 1e3);
  }
  samples.ttft_ms = median(first);
  return samples;
}

// What steps ask of the machine, from the matrices of a checkpoint.
struct Work {
  double prompt_parameters =
      0;  // multiply-adds of a prompt token: all matrices but embedding and head, of experts the
          // routed ones
  double idle_expert_share =
      0;  // part of the weights that a step of decode leaves unread: experts nobody is routed to
};

double routed_experts(const Json& config) {
  for (const char* key : {"num_experts_per_tok", "experts_per_token"}) {
    if (config.contains(key) && config[key].is_number()) return config[key].get<double>();
  }
  return 0;
}

// `streams` tokens a step of decode, each routed as if by chance.
Work work_of(const formats::Checkpoint& checkpoint, int32_t streams) {
  constexpr std::string_view kSuffix = ".weight";
  const double routed = routed_experts(checkpoint.config());
  Work work;
  double all_bytes = 0, idle_bytes = 0;
  for (const std::string& name : checkpoint.names()) {
    if (!name.ends_with(kSuffix)) continue;
    const Result<MatrixView> view = checkpoint.matrix(name.substr(0, name.size() - kSuffix.size()));
    if (!view || view->columns == 0) continue;
    const bool heads =
        name.find("embed_q") != std::string::npos || name.find("unembed_out") != std::string::npos;
    const bool routes = view->experts > 0 && !heads && routed > 0;
    const auto copies = static_cast<double>(std::max<int64_t>(view->experts, 1));
    const bool embedding = name.find("embed_tokens") != std::string::npos;
    if (!embedding && !name.starts_with("lm_head")) {
      work.prompt_parameters += (routes ? routed : copies) * static_cast<double>(view->rows) *
                                static_cast<double>(view->columns);
    }
    if (embedding && checkpoint.find("lm_head.weight") != nullptr) continue;
    const auto bytes = static_cast<double>(view->weight.size_bytes());
    all_bytes += bytes;
    if (routes) idle_bytes += bytes * std::pow(1 - routed / copies, streams);
  }
  work.idle_expert_share = all_bytes > 0 ? idle_bytes / all_bytes : 0;
  return work;
}

// Bytes a step of decode reads: weights once, and for each stream half the KV of the run on average.
double bytes_per_step(const runner::LocalRanks& ranks, const BenchOptions& options, int32_t streams,
                      const Work& work) {
  backend::KvSpec spec = ranks.first().model->info().kv;
  if (const auto type = runner::parse_kv_type(options.kv_type)) spec.type = *type;
  const double first = static_cast<double>(backend::kv_page_bytes(spec)) / backend::kPageTokens;
  const double kv = first * options.ranks;  // as much on the others
  return static_cast<double>(ranks.weight_bytes()) * (1 - work.idle_expert_share) +
         streams * kv * (options.depth + options.pp + options.tg / 2.0);
}

// Multiply-adds of a prompt token with the keys and values before it.
double attention_parameters(const runner::LocalRanks& ranks, const BenchOptions& options) {
  const Json& config = ranks.first().checkpoint.config();
  if (!config.contains("num_attention_heads") || !config["num_attention_heads"].is_number())
    return 0;
  double dims = 0;
  for (const backend::KvLayerSpec& layer : ranks.first().model->info().kv.layers) {
    dims += layer.key_dim + (layer.value_dim > 0 ? layer.value_dim : layer.value_prefix);
  }
  return config["num_attention_heads"].get<double>() * dims * (options.depth + options.pp / 2.0);
}

// Limits of the time between two measurements: memory's rate has moods, of which the time saw some of each; arithmetic
// has a peak, which a measurement can only miss.
backend::MachineLimits limits_between(const backend::MachineLimits& before,
                                      const backend::MachineLimits& after) {
  return {
      .read_bytes_per_s = (before.read_bytes_per_s + after.read_bytes_per_s) / 2,
      .read_bytes_per_s_one_core =
          (before.read_bytes_per_s_one_core + after.read_bytes_per_s_one_core) / 2,
      .fast_operations_per_s = std::max(before.fast_operations_per_s, after.fast_operations_per_s),
      .int8_operations_per_s = std::max(before.int8_operations_per_s, after.int8_operations_per_s),
      .f32_operations_per_s = std::max(before.f32_operations_per_s, after.f32_operations_per_s)};
}

// Where 8 bits gain nothing, "int8" takes the products of "fast".
double peak_of(const std::string& math, const backend::MachineLimits& limits) {
  if (math == "f32") return limits.f32_operations_per_s;
  if (math == "fast") return limits.fast_operations_per_s;
  return std::max(limits.int8_operations_per_s, limits.fast_operations_per_s);
}

Json result_json(const runner::LocalRanks& ranks, const BenchOptions& options, int32_t streams,
                 const Samples& samples, const backend::MachineLimits& limits, double load_s) {
  const double decode = median(samples.decode);
  const double prefill = median(samples.prefill);
  const Work work = work_of(ranks.first().checkpoint, streams);
  const double read_per_s = decode / streams * bytes_per_step(ranks, options, streams, work);
  const double operations = 2.0 * (work.prompt_parameters + attention_parameters(ranks, options));
  const double peak = peak_of(options.math, limits);
  return Json{{"model", options.model},
              {"devices", options.ranks},
              {"sharding", options.ranks == 1 ? "single" : options.sharding},
              {"threads", options.threads},
              {"concurrency", streams},
              {"pp", options.pp},
              {"tg", options.tg},
              {"depth", options.depth},
              {"prefill_tokens_per_s", prefill},
              {"decode_tokens_per_s", decode},
              {"decode_read_limit_fraction", read_per_s / limits.read_bytes_per_s},
              {"read_limit_gb_per_s", limits.read_bytes_per_s / 1e9},
              {"prefill_peak_fraction", prefill * operations / peak},
              {"prefill_peak_gops", peak / 1e9},
              {"ttft_ms", samples.ttft_ms},
              {"load_to_first_token_s", load_s},
              {"rss_bytes", runner::resident_bytes()},
              {"weight_bytes", ranks.weight_bytes()},
              {"samples", {{"prefill", samples.prefill}, {"decode", samples.decode}}},
              {"cpu", ranks.first().backend->info().detail},
              {"flags", options.math}};
}

void print_table(const Json& results) {
  Table table({"STREAMS", "PREFILL tok/s", "OF PEAK", "DECODE tok/s", "OF READ LIMIT",
               "READ LIMIT GB/s", "TTFT ms"});
  for (const Json& r : results) {
    table.add({dump_json(r["concurrency"]),
               fmt::format("{:.1f}", r["prefill_tokens_per_s"].get<double>()),
               fmt::format("{:.0f}%", r["prefill_peak_fraction"].get<double>() * 100),
               fmt::format("{:.1f}", r["decode_tokens_per_s"].get<double>()),
               fmt::format("{:.0f}%", r["decode_read_limit_fraction"].get<double>() * 100),
               fmt::format("{:.1f}", r["read_limit_gb_per_s"].get<double>()),
               fmt::format("{:.1f}", r["ttft_ms"].get<double>())});
  }
  fmt::print("{}", table.to_string(wants_colour(1)));
}

std::optional<transport::SlowPath> path_of(const BenchOptions& options) {
  if (options.link_mbit_per_s <= 0 && options.link_delay_us <= 0) return std::nullopt;
  return transport::SlowPath{
      .one_way = std::chrono::nanoseconds(static_cast<int64_t>(options.link_delay_us * 1e3)),
      .bytes_per_s = options.link_mbit_per_s * 1e6 / 8};
}

std::vector<double> normalised(std::vector<double> fractions) {
  const double sum = std::accumulate(fractions.begin(), fractions.end(), 0.0);
  for (double& fraction : fractions) fraction /= sum;
  return fractions;
}

// Stages that read as many bytes a token: the last has fewer layers, for it has the head, too. Ranks of a tensor group
// have shares in proportion to their paces.
Result<std::vector<double>> fractions_of(const formats::Checkpoint& checkpoint,
                                         const BenchOptions& options) {
  if (options.sharding != "pipeline") return normalised(options.paces);
  COHORT_TRY(const cluster::ModelCost cost, model_cost(checkpoint, options.kv_type));
  double layers = 0;
  for (const cluster::LayerCost& layer : cost.layers)
    layers += static_cast<double>(layer.touched_bytes);
  const double head = static_cast<double>(cost.head_bytes);
  const double share = (layers + head) / options.ranks;
  std::vector<double> fractions(static_cast<size_t>(options.ranks), share / layers);
  fractions.back() = std::max(share - head, share / 8) / layers;
  return normalised(std::move(fractions));
}

// The cores are shared out among the ranks.
Result<runner::LocalRanksOptions> ranks_of(const std::string& source, const BenchOptions& options) {
  if (!options.paces.empty() && static_cast<int32_t>(options.paces.size()) != options.ranks) {
    return fail(Code::kInvalidArgument, "{} paces for {} ranks", options.paces.size(),
                options.ranks);
  }
  const int32_t most = *std::max_element(options.concurrency.begin(), options.concurrency.end());
  const int32_t threads = options.threads > 0 ? options.threads : backend::usable_cores();
  runner::LocalRanksOptions local{
      .command = {.model = source,
                  .model_name = options.model,
                  .threads = std::max(1, threads / options.ranks),
                  .kv_type = options.kv_type,
                  .math = options.math},
      .backends = {options.backend},
      .links = transport::link_type_of(options.transport),
      .path = path_of(options),
      .paces = options.paces,
      .kv_pages = most * divide_up(options.depth + options.pp + options.tg, backend::kPageTokens)};
  if (options.encrypt) local.secret = transport::LinkKey{};
  COHORT_TRY(const formats::Checkpoint checkpoint, runner::open_checkpoint(source));
  COHORT_TRY(const int32_t layers, runner::layers_of(checkpoint));
  COHORT_TRY(const std::vector<double> fractions, fractions_of(checkpoint, options));
  COHORT_TRY(local.command.group, runner::make_layout({.sharding = options.sharding,
                                                       .ranks = options.ranks,
                                                       .fractions = fractions,
                                                       .layers = layers}));
  local.command.group->wire = options.wire;
  return local;
}

Result<std::string> source_of(const StoreOptions& store, BenchOptions& options) {
  if (options.shape.empty()) return model_source(store, options.model);
  options.model = options.shape;
  COHORT_TRY(const std::filesystem::path folder, synthetic_model(options.shape));
  return folder.string();
}

Result<void> write_shape(const BenchOptions& options) {
  COHORT_TRY(const ModelShape shape, parse_shape(options.shape));
  return write_synthetic_model(shape, options.write);
}

Result<Json> bench_or_fail(const StoreOptions& store, BenchOptions options) {
  COHORT_TRY(const std::string source, source_of(store, options));
  COHORT_TRY(const std::string kernels, runner::wanted_kernels());
  const auto started = Clock::now();
  COHORT_TRY(const runner::LocalRanksOptions local, ranks_of(source, options));
  COHORT_TRY(const auto ranks, runner::LocalRanks::start(local));
  COHORT_TRY_VOID(Drive(*ranks, 1, 0, 1).prefill(1));
  const double load_s = seconds_since(started);
  options.threads = ranks->first().backend->info().threads * options.ranks;
  const backend::Choice choice = {
      .name = options.backend, .threads = options.threads, .kernels = kernels};
  COHORT_TRY(backend::MachineLimits before, backend::measure_limits(choice));
  Json results = Json::array();
  for (const int32_t streams : options.concurrency) {
    if (streams < 1) return fail(Code::kInvalidArgument, "--concurrency {}: at least 1", streams);
    Progress progress(fmt::format("{} with {} streams", options.model, streams));
    COHORT_TRY(const Samples samples, measure(*ranks, options, streams, progress));
    COHORT_TRY(const backend::MachineLimits after, backend::measure_limits(choice));
    const backend::MachineLimits limits = limits_between(before, after);
    results.push_back(result_json(*ranks, options, streams, samples, limits, load_s));
    before = after;
  }
  return results;
}

}  // namespace

int bench(const Common& common, const StoreOptions& store, const BenchOptions& options) {
  if (options.model.empty() && options.shape.empty()) {
    return report(Error{Code::kInvalidArgument, "a model or --shape is needed"});
  }
  if (!options.write.empty()) {
    const Result<void> written = write_shape(options);
    return written ? kExitFine : report(written.error());
  }
  const Result<Json> results = bench_or_fail(store, options);
  if (!results) return report(results.error());
  if (common.json) {
    print_json(*results);
  } else {
    const Json& first = (*results)[0];
    fmt::print("{}: {}, {} prompt tokens, {} generated, medians of {} runs\n",
               first["model"].get<std::string>(), first["cpu"].get<std::string>(), options.pp,
               options.tg, options.repeat);
    fmt::print("loaded, and the first token of a prompt of one, in {:.2f} s\n",
               first["load_to_first_token_s"].get<double>());
    print_table(*results);
  }
  return kExitFine;
}

}  // namespace cohort::cli
