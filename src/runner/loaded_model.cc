#include "runner/loaded_model.h"

#include <algorithm>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/memory.h"
#include "runner/model_files.h"
#include "runner/no_tokenizer.h"

namespace cohort::runner {
namespace {

// Kept free for what steps need beside weights and KV: activations of a chunk, logits, answers in flight.
constexpr uint64_t kStepBytes = 128u << 20;

Result<backend::Math> parse_math(std::string_view name) {
  if (name == "fast") return backend::Math::kFast;
  if (name == "f32") return backend::Math::kF32;
  return fail(Code::kInvalidArgument, "unknown math '{}'; use fast or f32", name);
}

uint64_t bytes_left_for_kv(const LoadCommand& command, uint64_t weight_bytes) {
  uint64_t left = backend::available_memory_bytes();
  if (command.memory_limit_bytes > 0) {
    left = std::min(
        left, command.memory_limit_bytes - std::min(command.memory_limit_bytes, weight_bytes));
  }
  return left - std::min(kStepBytes, left / 8);
}

Result<KvPlan> create_kv(const LoadCommand& command, backend::KvType type,
                         const models::ModelInfo& info, backend::Backend& backend) {
  backend::KvSpec spec = info.kv;
  spec.type = type;
  COHORT_TRY(const KvPlan plan,
             plan_kv({.page_bytes = backend::kv_page_bytes(spec),
                      .left_bytes = bytes_left_for_kv(command, backend.info().weight_bytes),
                      .model_context = info.max_positions,
                      .context_length = command.context_length,
                      .max_sequences = command.max_sequences}));
  COHORT_TRY_VOID(backend.create_kv(spec, plan.pages));
  return plan;
}

Result<std::unique_ptr<text::Tokenizer>> make_tokenizer(const ModelFiles& files,
                                                        const Json& config) {
  if (!files.tokenizer.empty()) return text::load_tokenizer(files.tokenizer);
  int32_t vocab_size = 0;
  if (const auto found = config.find("vocab_size"); found != config.end()) {
    vocab_size = from_json<int32_t>(*found).value_or(0);
  }
  return std::make_unique<NoTokenizer>(vocab_size);
}

}  // namespace

Result<LoadedModel> load_model(const LoadCommand& command, const models::LoadObserver& observer) {
  COHORT_TRY(const backend::KvType kv_type, parse_kv_type(command.kv_type));
  COHORT_TRY(const backend::Math math, parse_math(command.math));
  COHORT_TRY(formats::Checkpoint checkpoint, open_checkpoint(command.model));
  COHORT_TRY(const ModelFiles files, read_model_files(command.model));
  auto tokenizer = make_tokenizer(files, checkpoint.config());
  if (!tokenizer) return fail_in("tokenizer.json", std::move(tokenizer).error());
  auto chat_template = text::ChatTemplate::load(
      files.tokenizer_config.empty() ? "{}" : files.tokenizer_config, files.chat_template);
  GenerationDefaults defaults = read_generation_defaults(files, checkpoint.config(), **tokenizer);

  auto backend = backend::make_cpu_backend(
      {.threads = command.threads, .math = math, .memory_limit_bytes = command.memory_limit_bytes});
  COHORT_TRY(auto model, models::make_model(checkpoint, {}, *backend, observer));
  COHORT_TRY(const KvPlan kv, create_kv(command, kv_type, model->info(), *backend));
  return LoadedModel{.checkpoint = std::move(checkpoint),
                     .backend = std::move(backend),
                     .model = std::move(model),
                     .tokenizer = std::move(*tokenizer),
                     .has_tokenizer = !files.tokenizer.empty(),
                     .chat_template = std::move(chat_template),
                     .defaults = std::move(defaults),
                     .kv = kv};
}

}  // namespace cohort::runner
