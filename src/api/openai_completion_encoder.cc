#include <vector>

#include "api/openai_encoder.h"
#include "api/openai_parts.h"

namespace cohort::api {
namespace {

constexpr std::string_view kObject = "text_completion";

class CompletionStream final : public Encoder {
 public:
  explicit CompletionStream(ReplyHead head)
      : head_(std::move(head)),
        usage_(head_.choices_per_request),
        logprobs_(static_cast<size_t>(head_.choices)) {}

  std::string begin() override { return ""; }

  std::string encode(const runner::GenerateDelta& delta) override {
    const bool last = !delta.finish_reason.empty();
    if (last) usage_.add(delta);
    if (delta.text.empty() && delta.logprobs.empty() && !last) return "";
    Json choice{{"text", delta.text}, {"index", delta.choice}};
    choice["logprobs"] =
        head_.logprobs ? logprobs_[static_cast<size_t>(delta.choice)].take(delta.logprobs) : Json();
    choice["finish_reason"] = last ? Json(delta.finish_reason) : Json();
    Json reply = reply_of(head_, kObject);
    reply["choices"].push_back(std::move(choice));
    if (head_.include_usage) reply["usage"] = nullptr;
    return sse_event(reply);
  }

  std::string end() override {
    if (!head_.include_usage) return sse_done();
    Json last = reply_of(head_, kObject);
    last["usage"] = usage_.usage();
    last["timings"] = usage_.timings();
    return sse_event(last) + sse_done();
  }

  std::string error(const Error& error) override { return sse_failure(error); }
  std::string keep_alive() override { return sse_keep_alive(); }

 private:
  ReplyHead head_;
  UsageCounter usage_;
  std::vector<CompletionLogprobs> logprobs_;
};

class CompletionCollected final : public Encoder {
 public:
  explicit CompletionCollected(ReplyHead head)
      : head_(std::move(head)),
        usage_(head_.choices_per_request),
        choices_(static_cast<size_t>(head_.choices)) {}

  std::string begin() override { return ""; }

  std::string encode(const runner::GenerateDelta& delta) override {
    Choice& choice = choices_[static_cast<size_t>(delta.choice)];
    choice.text += delta.text;
    choice.sampled.insert(choice.sampled.end(), delta.logprobs.begin(), delta.logprobs.end());
    if (!delta.finish_reason.empty()) {
      choice.finish_reason = delta.finish_reason;
      usage_.add(delta);
    }
    return "";
  }

  std::string end() override {
    Json reply = reply_of(head_, kObject);
    for (Choice& from : choices_) {
      Json choice{{"text", std::move(from.text)}, {"index", reply["choices"].size()}};
      choice["logprobs"] = head_.logprobs ? CompletionLogprobs().take(from.sampled) : Json();
      choice["finish_reason"] = from.finish_reason;
      reply["choices"].push_back(std::move(choice));
    }
    reply["usage"] = usage_.usage();
    reply["timings"] = usage_.timings();
    return dump_json(reply);
  }

  std::string error(const Error&) override { return ""; }
  std::string keep_alive() override { return ""; }

 private:
  struct Choice {
    std::string text;
    std::vector<runner::SampledLogprobs> sampled;
    std::string finish_reason;
  };
  ReplyHead head_;
  UsageCounter usage_;
  std::vector<Choice> choices_;
};

}  // namespace

std::unique_ptr<Encoder> completion_stream(ReplyHead head) {
  return std::make_unique<CompletionStream>(std::move(head));
}
std::unique_ptr<Encoder> completion_collected(ReplyHead head) {
  return std::make_unique<CompletionCollected>(std::move(head));
}

}  // namespace cohort::api
