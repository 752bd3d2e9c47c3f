#include "runner/loaded_model.h"

#include <algorithm>
#include <cstdlib>

#include <fmt/ranges.h>

#include "backend/choose.h"
#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/memory.h"
#include "runner/model_files.h"
#include "runner/no_tokenizer.h"

namespace cohort::runner {
namespace {

// Kept free for what steps need beside weights and KV: activations of a chunk, logits, answers in flight.
constexpr uint64_t kStepBytes = 128u << 20;
// Until the last rank has loaded, from a slow disk or a network's; who dies meanwhile is noticed at once.
constexpr std::chrono::hours kLoadLimit{6};

Result<backend::Math> parse_math(std::string_view name) {
  if (name == "fast") return backend::Math::kFast;
  if (name == "f32") return backend::Math::kF32;
  if (name == "int8") return backend::Math::kInt8;
  return fail(Code::kInvalidArgument, "unknown math '{}'; use f32, fast or int8", name);
}

uint64_t bytes_left_for_kv(const LoadCommand& command, const backend::BackendInfo& info) {
  uint64_t left = backend::available_memory_bytes();
  for (const uint64_t limit : {command.memory_limit_bytes, backend::most_memory_bytes(info.name)}) {
    if (limit > 0) left = std::min(left, limit - std::min(limit, info.weight_bytes));
  }
  return left - std::min(kStepBytes, left / 8);
}

// What a rank tells of its memory.
struct Room {
  uint64_t page_bytes = 0;
  uint64_t left_bytes = 0;

  uint64_t pages() const { return left_bytes / page_bytes; }
};

// The rank that holds the fewest pages decides for all.
struct Tightest {
  size_t rank = 0;
  Room room;
};
Result<Tightest> find_tightest(const Room& own, transport::Group& group) {
  std::vector<Room> rooms(static_cast<size_t>(group.size()), own);
  const std::vector<size_t> sizes(rooms.size(), sizeof(Room));
  COHORT_TRY_VOID(group.all_gather(std::as_bytes(std::span(&own, 1)), sizes,
                                   std::as_writable_bytes(std::span(rooms)),
                                   transport::Deadline::after(kLoadLimit)));
  Tightest tightest{.room = own};
  for (size_t rank = 0; rank < rooms.size(); ++rank) {
    if (rooms[rank].page_bytes == 0)
      return fail(Code::kDataLoss, "rank {} tells of KV pages of no size", rank);
    if (rank == 0 || rooms[rank].pages() < tightest.room.pages()) tightest = {rank, rooms[rank]};
  }
  return tightest;
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

Result<void> load_text(const LoadCommand& command, LoadedModel& loaded) {
  COHORT_TRY(const ModelFiles files, read_model_files(command.model));
  auto tokenizer = make_tokenizer(files, loaded.checkpoint.config());
  if (!tokenizer) return fail_in("tokenizer.json", std::move(tokenizer).error());
  loaded.tokenizer = std::move(*tokenizer);
  loaded.has_tokenizer = !files.tokenizer.empty();
  loaded.chat_template = text::ChatTemplate::load(
      files.tokenizer_config.empty() ? "{}" : files.tokenizer_config, files.chat_template);
  loaded.defaults = read_generation_defaults(files, loaded.checkpoint.config(), *loaded.tokenizer);
  return {};
}

}  // namespace

Result<std::string> wanted_kernels() {
  const char* name = std::getenv("COHORT_KERNELS");
  if (name == nullptr || *name == 0) return std::string();
  const std::vector<std::string> known = backend::cpu_kernel_names();
  if (std::find(known.begin(), known.end(), name) != known.end()) return std::string(name);
  return fail(Code::kInvalidArgument, "COHORT_KERNELS={}: this CPU runs {}", name,
              fmt::join(known, ", "));
}

Result<LoadedModel> load_model(const LoadCommand& command, const Placement& placement,
                               const models::LoadObserver& observer) {
  COHORT_TRY_VOID(parse_kv_type(command.kv_type));
  COHORT_TRY(const backend::Math math, parse_math(command.math));
  COHORT_TRY(const std::string kernels, wanted_kernels());
  COHORT_TRY(formats::Checkpoint checkpoint, open_checkpoint(command.model));
  LoadedModel loaded{.checkpoint = std::move(checkpoint)};
  if (placement.rank == 0) COHORT_TRY_VOID(load_text(command, loaded));

  COHORT_TRY(loaded.backend,
             backend::make_backend({.name = command.backend,
                                    .threads = command.threads,
                                    .math = math,
                                    .memory_limit_bytes = command.memory_limit_bytes,
                                    .kernels = kernels,
                                    .pace = command.pace}));
  COHORT_TRY(loaded.model,
             models::make_model(loaded.checkpoint, placement.shard, *loaded.backend, observer));
  if (placement.last_stage && !loaded.model->info().last_stage) {
    return fail(Code::kInvalidArgument, "the layout ends at layer {}; the model has {} layers",
                placement.shard.last_layer, loaded.model->info().layers);
  }
  return loaded;
}

Result<void> create_kv(const LoadCommand& command, transport::Group& group, LoadedModel& model) {
  const models::ModelInfo& info = model.model->info();
  backend::KvSpec spec = info.kv;
  COHORT_TRY(spec.type, parse_kv_type(command.kv_type));
  const Room own{.page_bytes = backend::kv_page_bytes(spec),
                 .left_bytes = bytes_left_for_kv(command, model.backend->info())};
  COHORT_TRY(const Tightest tightest, find_tightest(own, group));
  auto plan = plan_kv({.page_bytes = tightest.room.page_bytes,
                       .left_bytes = tightest.room.left_bytes,
                       .model_context = info.max_positions,
                       .context_length = command.context_length,
                       .max_sequences = command.max_sequences});
  if (!plan && group.size() > 1)
    return fail_in(fmt::format("rank {}", tightest.rank), std::move(plan).error());
  COHORT_TRY(model.kv, std::move(plan));
  return model.backend->create_kv(spec, model.kv.pages);
}

}  // namespace cohort::runner
