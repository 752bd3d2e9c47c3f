// `cohort verify`: golden logits of a checkpoint against this machine's backend, whole or cut over several ranks.
#include "cli/commands.h"
#include "cli/terminal.h"
#include "formats/checkpoint.h"
#include "models/golden.h"
#include "runner/local_ranks.h"
#include "runner/model_files.h"

namespace cohort::cli {
namespace {

// Largest difference that passes when numbers are narrower than float32; judged by the median over rows.
constexpr double kNarrowTolerance = 0.35;

void print_report(const models::GoldenReport& report, const VerifyOptions& options) {
  Table table({"", "LARGEST", "MEDIAN OF ROWS"});
  table.add({"prefill", fmt::format("{:.2e}", report.prefill.max_abs),
             fmt::format("{:.2e}", report.prefill.row_max_median)});
  table.add({"decode", fmt::format("{:.2e}", report.decode.max_abs),
             fmt::format("{:.2e}", report.decode.row_max_median)});
  fmt::print("{}", table.to_string(wants_colour(1)));
  fmt::print("KL mean {:.2e}, largest {:.2e}; likeliest token agrees in {:.1f}% of rows\n",
             report.divergence.kl_mean, report.divergence.kl_max,
             report.divergence.top1_agreement * 100);
  fmt::print("greedy tokens {}; {} (math {}, tolerance {})\n",
             report.greedy_agree ? "agree" : "differ", report.pass ? "pass" : "FAIL", options.math,
             options.tolerance);
}

Json report_json(models::GoldenReport report, const VerifyOptions& options) {
  Json json{{"model", options.folder.string()},
            {"math", options.math},
            {"backends", options.backends},
            {"ranks", options.ranks},
            {"sharding", options.ranks == 1 ? "single" : options.sharding},
            {"transport", options.transport},
            {"wire", options.wire}};
  const Json figures = to_json(report);
  for (const auto& [key, value] : figures.items()) json[key] = value;
  return json;
}

Result<runner::GroupLayout> layout_of(const VerifyOptions& options) {
  COHORT_TRY(const auto checkpoint, formats::Checkpoint::open(options.folder));
  COHORT_TRY(const int32_t layers, runner::layers_of(checkpoint));
  COHORT_TRY(runner::GroupLayout layout, runner::make_layout({.sharding = options.sharding,
                                                              .ranks = options.ranks,
                                                              .fractions = options.fractions,
                                                              .layers = layers}));
  layout.wire = options.wire;
  return layout;
}

Result<models::GoldenReport> compare(const VerifyOptions& options, bool narrow) {
  COHORT_TRY(const models::Golden golden, models::read_golden(options.folder));
  runner::LocalRanksOptions local{
      .command = {.model = options.folder.string(),
                  .threads = options.ranks > 1 ? std::max(options.threads, 1) : options.threads,
                  .kv_type = options.math == "f32" ? "f32" : "f16",
                  .math = options.math},
      .backends = options.backends,
      .links = transport::link_type_of(options.transport),
      .kv_pages = golden.pages()};
  COHORT_TRY(local.command.group, layout_of(options));
  COHORT_TRY(const auto ranks, runner::LocalRanks::start(local));
  if (ranks->first().model->info().vocab_size != golden.vocab_size) {
    return fail(Code::kDataLoss, "golden.safetensors has {} logits a row, the model {}",
                golden.vocab_size, ranks->first().model->info().vocab_size);
  }
  runner::RankExecutor& executor = ranks->executor();
  return models::compare_with_golden(
      golden,
      {.step = [&](const auto& plan, auto logits) { return executor.run(plan, logits); },
       .copy_kv_page = [&](int32_t from, int32_t to) { executor.copy_kv_page(from, to); }},
      {.chunk = options.chunk, .tolerance = options.tolerance, .judge_by_median = narrow});
}

}  // namespace

int verify(const Common& common, const VerifyOptions& wanted) {
  VerifyOptions options = wanted;
  const bool narrow = options.math != "f32" || options.wire != "f32";
  if (narrow && !options.tolerance_given) options.tolerance = kNarrowTolerance;
  const Result<models::GoldenReport> checked = compare(options, narrow);
  if (!checked) return report(checked.error());
  if (common.json) {
    fmt::print("{}\n", dump_json(report_json(*checked, options)));
  } else {
    print_report(*checked, options);
  }
  return checked->pass ? kExitFine : kExitFailed;
}

}  // namespace cohort::cli
