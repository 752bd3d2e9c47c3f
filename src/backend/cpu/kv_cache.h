// The paged KV cache: pages of kPageTokens positions. All pages of a layer lie one after the other, then those of the next
// layer, so that attention reads a layer's context in sequence where pages were given out in order.
//
// A layer of a page holds, for each KV head, a key block and a value block (kernels/attention.h describes their bytes).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "backend/backend.h"
#include "backend/cpu/memory.h"
#include "kernels/attention.h"

namespace cohort::backend {

struct KvLayer {
  KvLayerSpec spec;
  size_t before_bytes = 0;  // of a page: what the layers before this one take
  size_t page_bytes = 0;    // of a page: what this one takes
  size_t key_bytes = 0;     // of the block of one head
  size_t head_bytes = 0;    // key and value block of one head

  // Latent attention keeps no values: they are dims of the key.
  bool value_in_key() const { return spec.value_dim == 0; }
  int value_columns() const { return value_in_key() ? spec.value_prefix : spec.value_dim; }
};

struct KvLayout {
  std::vector<KvLayer> layers;
  size_t page_bytes = 0;  // over all layers
};
KvLayout make_kv_layout(const KvSpec& spec);
kernels::KvFormat kv_format(KvType type);

class KvCache {
 public:
  KvCache() = default;
  static Result<KvCache> create(const KvSpec& spec, int32_t pages, MemoryBudget& budget);

  kernels::KvFormat format() const { return format_; }
  const KvLayer& layer(int index) const { return layout_.layers[index]; }
  int32_t pages() const { return pages_; }
  uint64_t size_bytes() const { return memory_.size_bytes(); }

  std::byte* keys(int32_t page, const KvLayer& layer, int head) const {
    return page_of(page, layer) + head * layer.head_bytes;
  }
  std::byte* values(int32_t page, const KvLayer& layer, int head) const {
    return keys(page, layer, head) + layer.key_bytes;
  }
  void copy_page(int32_t from, int32_t to);

 private:
  std::byte* page_of(int32_t page, const KvLayer& layer) const {
    return memory_.data() + layer.before_bytes * static_cast<size_t>(pages_) +
           layer.page_bytes * static_cast<size_t>(page);
  }

  KvLayout layout_;
  kernels::KvFormat format_ = kernels::KvFormat::kF32;
  int32_t pages_ = 0;
  Pages memory_;
};

}  // namespace cohort::backend
