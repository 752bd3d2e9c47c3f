// From what the engine and the process tell to the frames that say it.
#pragma once

#include "engine/engine.h"
#include "runner/protocol.h"
#include "text/tokenizer.h"

namespace cohort::runner {

GenerateDelta to_frame(const engine::Delta& delta, const text::Tokenizer& tokenizer);
Failure failure_frame(const Error& error);
GenerateDelta refusal_frame(uint64_t id, const Error& error);
RunnerStats to_frame(const engine::EngineStats& stats, uint64_t rss_bytes);

}  // namespace cohort::runner
