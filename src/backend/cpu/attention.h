// Attention of a step's rows over the paged cache, shared out among the workers.
#pragma once

#include <span>

#include "backend/cpu/compute.h"
#include "backend/cpu/kv_cache.h"

namespace cohort::backend {

struct AttentionStep {
  const StepPlan* plan = nullptr;
  const KvCache* cache = nullptr;
  const KvLayer* layer = nullptr;
  Rows q, k, v;  // v without data when the value is in the key
  Rows out;
  int heads = 0;
  float scale = 1.0f;
  int window = 0;                // 0: all
  std::span<const float> sinks;  // empty, or one a head
};

// Writes the plan's rows of k and v to their pages.
void append_kv(const Compute& compute, const AttentionStep& step);

// What a row gets depends on its own sequence only, and on neither the chunk it came in nor the number of workers.
void attend(const Compute& compute, const AttentionStep& step);

}  // namespace cohort::backend
