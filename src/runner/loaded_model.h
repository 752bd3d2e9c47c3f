// A model, or a rank's shard of it, made ready to generate: weights in the backend, KV cache; and on rank 0 what turns
// text into tokens and back.
#pragma once

#include <memory>

#include "backend/backend.h"
#include "base/result.h"
#include "formats/checkpoint.h"
#include "models/model.h"
#include "runner/generation_defaults.h"
#include "runner/kv_plan.h"
#include "runner/placement.h"
#include "runner/protocol.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"
#include "transport/group.h"

namespace cohort::runner {

struct LoadedModel {
  formats::Checkpoint checkpoint;  // embedding tables stay mapped
  std::unique_ptr<backend::Backend> backend;
  std::unique_ptr<models::Model> model;
  KvPlan kv;  // once there is a cache

  // Of rank 0 only.
  std::unique_ptr<text::Tokenizer> tokenizer;
  bool has_tokenizer = false;  // else only token ids go in and out
  Result<text::ChatTemplate> chat_template =
      fail(Code::kUnsupported,
           "rank 0 renders chats");  // else: why chats are refused, when there is none
  GenerationDefaults defaults;
};

// The instruction set that COHORT_KERNELS in the environment asks for, "avx2" say; empty: the best. kInvalidArgument names
// those this CPU runs.
Result<std::string> wanted_kernels();

// Without a KV cache yet. The errors of the parts it opens; what can be checked quickly is checked before the weights
// are read.
Result<LoadedModel> load_model(const LoadCommand& command, const Placement& placement,
                               const models::LoadObserver& observer);

// Once every rank of `group` has loaded, which is waited for: as many pages as the rank with the least room for them
// can hold. Errors as of plan_kv(), and those of the group.
Result<void> create_kv(const LoadCommand& command, transport::Group& group, LoadedModel& model);

}  // namespace cohort::runner
