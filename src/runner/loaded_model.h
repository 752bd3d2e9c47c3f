// A model made ready to generate: weights in the backend, KV cache, tokenizer, chat template, defaults.
#pragma once

#include <memory>

#include "backend/backend.h"
#include "base/result.h"
#include "formats/checkpoint.h"
#include "models/model.h"
#include "runner/generation_defaults.h"
#include "runner/kv_plan.h"
#include "runner/protocol.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace cohort::runner {

struct LoadedModel {
  formats::Checkpoint checkpoint;  // embedding tables stay mapped
  std::unique_ptr<backend::Backend> backend;
  std::unique_ptr<models::Model> model;
  std::unique_ptr<text::Tokenizer> tokenizer;
  bool has_tokenizer = false;                // else only token ids go in and out
  Result<text::ChatTemplate> chat_template;  // why chats are refused, when there is none
  GenerationDefaults defaults;
  KvPlan kv;
};

// The errors of the parts it opens; what can be checked quickly is checked before the weights are read.
Result<LoadedModel> load_model(const LoadCommand& command, const models::LoadObserver& observer);

}  // namespace cohort::runner
