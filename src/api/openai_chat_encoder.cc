#include <vector>

#include "api/openai_encoder.h"
#include "api/openai_parts.h"

namespace cohort::api {
namespace {

class ChatStream final : public Encoder {
 public:
  explicit ChatStream(ReplyHead head)
      : head_(std::move(head)),
        usage_(head_.choices_per_request),
        greeted_(static_cast<size_t>(head_.choices)) {}

  std::string begin() override { return ""; }

  std::string encode(const runner::GenerateDelta& delta) override {
    std::string bytes;
    const auto choice = static_cast<size_t>(delta.choice);
    if (!greeted_[choice]) bytes += chunk(delta.choice, {{"role", "assistant"}, {"content", ""}});
    greeted_[choice] = true;
    if (!delta.text.empty() || !delta.logprobs.empty()) bytes += text_chunk(delta);
    if (!delta.finish_reason.empty()) {
      usage_.add(delta);
      bytes += chunk(delta.choice, Json::object(), delta.finish_reason);
    }
    return bytes;
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
  static constexpr std::string_view kObject = "chat.completion.chunk";

  std::string chunk(int32_t index, Json delta, Json finish_reason = nullptr,
                    Json logprobs = nullptr) const {
    Json reply = reply_of(head_, kObject);
    Json choice{{"index", index}, {"delta", std::move(delta)}};
    choice["logprobs"] = std::move(logprobs);
    choice["finish_reason"] = std::move(finish_reason);
    reply["choices"].push_back(std::move(choice));
    if (head_.include_usage) reply["usage"] = nullptr;
    return sse_event(reply);
  }

  std::string text_chunk(const runner::GenerateDelta& delta) const {
    Json logprobs;
    if (head_.logprobs) {
      Json content = Json::array();
      append_chat_logprobs(delta.logprobs, content);
      logprobs = chat_logprobs(std::move(content));
    }
    return chunk(delta.choice, {{"content", delta.text}}, nullptr, std::move(logprobs));
  }

  ReplyHead head_;
  UsageCounter usage_;
  std::vector<bool> greeted_;
};

class ChatCollected final : public Encoder {
 public:
  explicit ChatCollected(ReplyHead head)
      : head_(std::move(head)),
        usage_(head_.choices_per_request),
        choices_(static_cast<size_t>(head_.choices)) {}

  std::string begin() override { return ""; }

  std::string encode(const runner::GenerateDelta& delta) override {
    Choice& choice = choices_[static_cast<size_t>(delta.choice)];
    choice.text += delta.text;
    append_chat_logprobs(delta.logprobs, choice.logprobs);
    if (!delta.finish_reason.empty()) {
      choice.finish_reason = delta.finish_reason;
      usage_.add(delta);
    }
    return "";
  }

  std::string end() override {
    Json reply = reply_of(head_, "chat.completion");
    for (Choice& from : choices_) {
      Json choice{
          {"index", reply["choices"].size()},
          {"message",
           {{"role", "assistant"}, {"content", std::move(from.text)}, {"refusal", nullptr}}}};
      choice["logprobs"] = head_.logprobs ? chat_logprobs(std::move(from.logprobs)) : Json();
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
    Json logprobs = Json::array();
    std::string finish_reason;
  };
  ReplyHead head_;
  UsageCounter usage_;
  std::vector<Choice> choices_;
};

}  // namespace

std::unique_ptr<Encoder> chat_stream(ReplyHead head) {
  return std::make_unique<ChatStream>(std::move(head));
}
std::unique_ptr<Encoder> chat_collected(ReplyHead head) {
  return std::make_unique<ChatCollected>(std::move(head));
}

}  // namespace cohort::api
