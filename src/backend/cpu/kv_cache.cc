#include "backend/cpu/kv_cache.h"

#include <cstring>

#include "base/bytes.h"
#include "base/check.h"

namespace cohort::backend {

static_assert(kPageTokens == kernels::kKvBlockTokens);

kernels::KvFormat kv_format(KvType type) {
  switch (type) {
    case KvType::kF32: return kernels::KvFormat::kF32;
    case KvType::kF16: return kernels::KvFormat::kF16;
    case KvType::kBF16: return kernels::KvFormat::kBF16;
    case KvType::kQ8: return kernels::KvFormat::kQ8;
  }
  COHORT_CHECK(false);
}

KvLayout make_kv_layout(const KvSpec& spec) {
  const kernels::KvFormat format = kv_format(spec.type);
  KvLayout layout;
  for (const KvLayerSpec& layer : spec.layers) {
    KvLayer placed{.spec = layer, .before_bytes = layout.page_bytes};
    placed.key_bytes = kernels::kv_key_bytes(format, layer.key_dim);
    placed.head_bytes = placed.key_bytes + kernels::kv_value_bytes(format, layer.value_dim);
    placed.page_bytes = placed.head_bytes * layer.kv_heads;
    layout.page_bytes += placed.page_bytes;
    layout.layers.push_back(placed);
  }
  return layout;
}

Result<KvCache> KvCache::create(const KvSpec& spec, int32_t pages, MemoryBudget& budget) {
  KvCache cache;
  cache.layout_ = make_kv_layout(spec);
  cache.format_ = kv_format(spec.type);
  const auto size =
      checked_multiply<uint64_t>(cache.layout_.page_bytes, static_cast<uint64_t>(pages));
  if (!size)
    return fail(Code::kUnavailable, "a KV cache of {} pages exceeds the address space", pages);
  COHORT_TRY_VOID(budget.reserve("the KV cache", *size));
  COHORT_TRY(cache.memory_, Pages::allocate(*size));
  cache.pages_ = pages;
  return cache;
}

void KvCache::copy_page(int32_t from, int32_t to) {
  COHORT_CHECK(from >= 0 && from < pages_ && to >= 0 && to < pages_);
  if (from == to) return;
  for (const KvLayer& layer : layout_.layers) {
    std::memcpy(page_of(to, layer), page_of(from, layer), layer.page_bytes);
  }
}

uint64_t kv_page_bytes(const KvSpec& spec) { return make_kv_layout(spec).page_bytes; }

}  // namespace cohort::backend
