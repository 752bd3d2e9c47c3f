// `cohort verify`: golden logits of a checkpoint against this machine's backend.
#include "backend/cpu/cpu_backend.h"
#include "cli/commands.h"
#include "cli/terminal.h"
#include "models/golden.h"

namespace cohort::cli {
namespace {

// Largest difference that passes when activations are narrower than float32; judged by the median over rows.
constexpr double kFastTolerance = 0.35;

void print_report(const models::GoldenReport& report, const VerifyOptions& options) {
  Table table({"", "LARGEST", "MEDIAN OF ROWS"});
  table.add({"prefill", fmt::format("{:.2e}", report.prefill.max_abs),
             fmt::format("{:.2e}", report.prefill.row_max_median)});
  table.add({"decode", fmt::format("{:.2e}", report.decode.max_abs),
             fmt::format("{:.2e}", report.decode.row_max_median)});
  fmt::print("{}", table.to_string(wants_colour(1)));
  fmt::print("greedy tokens {}; {} (math {}, tolerance {})\n",
             report.greedy_agree ? "agree" : "differ", report.pass ? "pass" : "FAIL", options.math,
             options.tolerance);
}

Json report_json(models::GoldenReport report, const VerifyOptions& options) {
  Json json{{"model", options.folder.string()},
            {"math", options.math},
            {"ranks", 1},
            {"sharding", "single"}};
  const Json figures = to_json(report);
  for (const auto& [key, value] : figures.items()) json[key] = value;
  return json;
}

}  // namespace

int verify(const Common& common, const VerifyOptions& wanted) {
  VerifyOptions options = wanted;
  const bool fast = options.math == "fast";
  if (fast && !options.tolerance_given) options.tolerance = kFastTolerance;
  const auto backend = backend::make_cpu_backend(
      {.threads = options.threads, .math = fast ? backend::Math::kFast : backend::Math::kF32});
  const auto kv_type = fast ? backend::KvType::kF16 : backend::KvType::kF32;
  const Result<models::GoldenReport> checked = models::verify_checkpoint(
      options.folder, *backend, kv_type,
      {.chunk = options.chunk, .tolerance = options.tolerance, .judge_by_median = fast});
  if (!checked) return report(checked.error());
  if (common.json) {
    fmt::print("{}\n", dump_json(report_json(*checked, options)));
  } else {
    print_report(*checked, options);
  }
  return checked->pass ? kExitFine : kExitFailed;
}

}  // namespace cohort::cli
