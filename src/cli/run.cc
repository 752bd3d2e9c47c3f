// `cohort run`: one answer, a chat in the terminal, or standard input as the prompt.
#include <histedit.h>
#include <unistd.h>

#include <cstdio>
#include <iterator>
#include <memory>

#include "cli/api_client.h"
#include "cli/commands.h"
#include "cli/input.h"
#include "cli/instances.h"
#include "cli/model_store.h"
#include "cli/private_device.h"
#include "cli/terminal.h"

namespace cohort::cli {
namespace {

struct Answer {
  std::string text;
  std::string finish_reason;
  Json usage;
};

Json message(std::string_view role, const std::string& content) {
  return Json{{"role", role}, {"content", content}};
}

class Chat {
 public:
  Chat(ApiClient& api, const RunOptions& options) : api_(api), options_(options) { clear(); }

  void clear() {
    messages_ = Json::array();
    if (options_.system) messages_.push_back(message("system", *options_.system));
  }

  // Streams the answer to stdout and remembers both sides.
  Result<Answer> ask(const std::string& prompt) {
    messages_.push_back(message("user", prompt));
    Answer answer;
    const Result<void> streamed = api_.stream("/v1/chat/completions", body(),
                                              [&](const Json& event) { take(event, answer); });
    if (!streamed) {
      messages_.erase(messages_.size() - 1);
      return tl::unexpected<Error>(streamed.error());
    }
    messages_.push_back(message("assistant", answer.text));
    return answer;
  }

 private:
  Json body() const {
    Json body{{"model", options_.model},
              {"messages", messages_},
              {"stream", true},
              {"stream_options", {{"include_usage", true}}}};
    if (options_.max_tokens) body["max_tokens"] = *options_.max_tokens;
    if (options_.temperature) body["temperature"] = *options_.temperature;
    if (options_.seed) body["seed"] = *options_.seed;
    return body;
  }

  static void take(const Json& event, Answer& answer) {
    if (event.contains("usage") && event["usage"].is_object()) answer.usage = event;
    for (const Json& choice : event.value("choices", Json::array())) {
      const Json delta = choice.value("delta", Json::object());
      if (delta.contains("content") && delta["content"].is_string()) {
        const std::string text = delta["content"].get<std::string>();
        answer.text += text;
        std::fwrite(text.data(), 1, text.size(), stdout);
        std::fflush(stdout);
      }
      if (choice.contains("finish_reason") && choice["finish_reason"].is_string()) {
        answer.finish_reason = choice["finish_reason"].get<std::string>();
      }
    }
  }

  ApiClient& api_;
  const RunOptions& options_;
  Json messages_;
};

void print_stats(const Answer& answer) {
  const Json usage = answer.usage.value("usage", Json::object());
  const Json timings = answer.usage.value("timings", Json::object());
  const int64_t prompt = usage.value("prompt_tokens", int64_t{0});
  const int64_t completion = usage.value("completion_tokens", int64_t{0});
  const int64_t cached =
      usage.value("prompt_tokens_details", Json::object()).value("cached_tokens", int64_t{0});
  const double prefill = timings.value("prefill_seconds", 0.0);
  const double decode = timings.value("decode_seconds", 0.0);
  std::string line = fmt::format("{} prompt tokens", prompt);
  if (cached > 0) line += fmt::format(" ({} cached)", cached);
  if (prefill > 0)
    line += fmt::format(" at {:.0f} tok/s", static_cast<double>(prompt - cached) / prefill);
  line += fmt::format(", {} answered", completion);
  if (decode > 0)
    line += fmt::format(" at {:.1f} tok/s", static_cast<double>(completion - 1) / decode);
  fmt::print(stderr, "[{}]\n", line);
}

int answer_once(Chat& chat, const RunOptions& options, const std::string& prompt) {
  const Result<Answer> answer = chat.ask(prompt);
  if (interrupted()) {
    fmt::print("\n");
    return kExitInterrupted;
  }
  if (!answer) return report(answer.error());
  fmt::print("\n");
  std::fflush(stdout);  // the answer's line ends before what stderr says of it
  if (options.stats) print_stats(*answer);
  if (answer->finish_reason == "length" && is_terminal(2)) {
    fmt::print(stderr, "[cut at the token limit; --max-tokens raises it]\n");
  }
  return kExitFine;
}

const char* prompt_text(EditLine*) { return ">>> "; }

// Line editing with history kept between sessions.
class LineEditor {
 public:
  explicit LineEditor(std::string history_file)
      : editor_(el_init("cohort", stdin, stdout, stderr)),
        history_(history_init()),
        file_(std::move(history_file)) {
    HistEvent event;
    history(history_, &event, H_SETSIZE, 1000);
    history(history_, &event, H_SETUNIQUE, 1);
    if (!file_.empty()) history(history_, &event, H_LOAD, file_.c_str());
    el_set(editor_, EL_PROMPT, &prompt_text);
    el_set(editor_, EL_EDITOR, "emacs");
    el_set(editor_, EL_HIST, history, history_);
  }
  ~LineEditor() {
    HistEvent event;
    if (!file_.empty()) history(history_, &event, H_SAVE, file_.c_str());
    history_end(history_);
    el_end(editor_);
  }
  LineEditor(const LineEditor&) = delete;
  LineEditor& operator=(const LineEditor&) = delete;

  std::optional<std::string> read_line() {
    int count = 0;
    const char* line = el_gets(editor_, &count);
    if (line == nullptr || count <= 0) return std::nullopt;
    std::string text(line, static_cast<size_t>(count));
    while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
    if (!text.empty()) {
      HistEvent event;
      history(history_, &event, H_ENTER, text.c_str());
    }
    return text;
  }

 private:
  EditLine* editor_;
  History* history_;
  std::string file_;
};

constexpr std::string_view kHelp =
    "  /clear    forget the conversation\n"
    "  /bye      leave (or Ctrl-D)\n"
    "  Ctrl-C    stop the answer\n"
    "  \"\"\"       begin and end a prompt of several lines\n";

// A line, or everything between two lines of """.
std::optional<std::string> read_prompt(LineEditor& editor) {
  std::optional<std::string> line = editor.read_line();
  constexpr std::string_view kFence = "\"\"\"";
  if (!line || !line->starts_with(kFence)) return line;
  std::string text = line->substr(kFence.size());
  while ((line = editor.read_line())) {
    if (line->ends_with(kFence)) {
      text += "\n" + line->substr(0, line->size() - kFence.size());
      break;
    }
    text += "\n" + *line;
  }
  return text;
}

int converse(Chat& chat, const RunOptions& options, const std::string& history_file) {
  fmt::print(stderr, "{} is ready; /? for help\n", options.model);
  LineEditor editor(history_file);
  while (const std::optional<std::string> prompt = read_prompt(editor)) {
    if (prompt->empty()) continue;
    if (*prompt == "/bye" || *prompt == "/exit") break;
    if (*prompt == "/?" || *prompt == "/help") {
      fmt::print(stderr, "{}", kHelp);
    } else if (*prompt == "/clear") {
      chat.clear();
      fmt::print(stderr, "the conversation is forgotten\n");
    } else {
      interrupted() = false;
      answer_once(chat, options, *prompt);
    }
  }
  return kExitFine;
}

}  // namespace

int run(const Common& common, const StoreOptions& store, const RunOptions& options) {
  watch_interrupt();
  Common target = common;
  std::unique_ptr<PrivateDevice> device;
  if (!ApiClient(common).reachable()) {
    if (common.api_given) {
      return report({Code::kUnavailable, fmt::format("no device answers at {}", common.api)});
    }
    if (Result<void> fetched = ensure_model(store, options.model); !fetched) {
      return report(fetched.error());
    }
    Result<PrivateDevice> started = PrivateDevice::start(store);
    if (!started) return report(started.error());
    device = std::make_unique<PrivateDevice>(std::move(*started));
    target.api = device->url();
  } else if (Result<void> fetched = ensure_model(store, options.model); !fetched) {
    return report(fetched.error());
  }
  if (options.devices > 0 || options.sharding != "auto" || options.transport != "auto") {
    PlaceOptions placing{
        .model = options.model, .devices = options.devices, .sharding = options.sharding};
    placing.transport = options.transport;
    placing.wait = true;
    if (const Result<Json> placed = place_instances(target, placing); !placed)
      return report(placed.error());
  }
  ApiClient api(target);
  Chat chat(api, options);
  if (options.prompt) return answer_once(chat, options, *options.prompt);
  if (!is_terminal(0)) return answer_once(chat, options, read_standard_input());
  return converse(chat, options, history_file(store));
}

}  // namespace cohort::cli
