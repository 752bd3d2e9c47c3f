#include "runner/kv_plan.h"

#include <algorithm>
#include <limits>

#include "backend/step_plan.h"
#include "base/bytes.h"
#include "base/check.h"

namespace cohort::runner {
namespace {

using backend::kPageTokens;

constexpr int32_t kDefaultContext = 4096;  // of a checkpoint that names no limit
constexpr int32_t kLeastContext =
    512;  // below, a model is of no use: better to say that memory is missing
constexpr int32_t kOtherSequenceTokens =
    4096;  // room for each further sequence, where memory allows

int64_t pages_for(int64_t tokens) { return divide_up<int64_t>(tokens, kPageTokens); }

tl::unexpected<Error> no_room(const KvWish& wish, int32_t context, int64_t fitting_pages) {
  const uint64_t wanted = static_cast<uint64_t>(pages_for(context)) * wish.page_bytes;
  const std::string remedy =
      fitting_pages > 0
          ? fmt::format("a context of {} tokens would fit", fitting_pages * kPageTokens)
          : std::string("free memory, raise --memory-limit or take a smaller model");
  return fail(Code::kUnavailable,
              "a context of {} tokens needs {} of KV cache and {} is left after the weights: {} "
              "missing; {}",
              context, format_bytes(wanted), format_bytes(wish.left_bytes),
              format_bytes(wanted - wish.left_bytes), remedy);
}

}  // namespace

Result<KvPlan> plan_kv(const KvWish& wish) {
  COHORT_CHECK(wish.page_bytes > 0);
  const int32_t limit =
      wish.model_context > 0 ? wish.model_context : std::max(wish.context_length, kDefaultContext);
  if (wish.context_length < 0 || wish.context_length > limit) {
    return fail(Code::kInvalidArgument, "a context of {} tokens is asked for; the model has {}",
                wish.context_length, limit);
  }
  const auto fitting = static_cast<int64_t>(std::min<uint64_t>(
      wish.left_bytes / wish.page_bytes, std::numeric_limits<int32_t>::max() / kPageTokens));
  const int32_t least =
      wish.context_length > 0 ? wish.context_length : std::min(limit, kLeastContext);
  if (pages_for(least) > fitting) return no_room(wish, least, fitting);

  const int32_t context =
      wish.context_length > 0
          ? wish.context_length
          : static_cast<int32_t>(std::min<int64_t>(limit, fitting * kPageTokens));
  const int64_t others = int64_t{std::max(0, wish.max_sequences - 1)} *
                         pages_for(std::min(context, kOtherSequenceTokens));
  const int64_t pages = std::min(fitting, pages_for(context) + others);
  return KvPlan{.context_length = context, .pages = static_cast<int32_t>(pages)};
}

Result<backend::KvType> parse_kv_type(std::string_view name) {
  if (name == "f32") return backend::KvType::kF32;
  if (name == "f16") return backend::KvType::kF16;
  if (name == "bf16") return backend::KvType::kBF16;
  if (name == "q8") return backend::KvType::kQ8;
  return fail(Code::kInvalidArgument, "unknown KV type '{}'; use f32, f16, bf16 or q8", name);
}

}  // namespace cohort::runner
