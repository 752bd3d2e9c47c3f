// A runner without a model, for tests of the daemon. What it does is in the names and prompts it is given:
//   model   echo | crash-on-load | fail-on-load | never-ready
//   prompt  "say one two three"        a token a word
//           "crash 2 say one two"      dies after the second token, once: a resumed request has two tokens already
//           "poison"                   dies whenever it sees this
//           "forever" | "stall"        tokens without end | none
//           "flood 5000"               that many tokens of a kilobyte
//           "fail not_found it broke"  an error of that code
//           "hang"                     stops serving anybody
// Started with the word "unreachable" it finds no link when it is to measure one; with "stalled" it never ends that.
// The seed of a request is its second token's text when the prompt is "seed".
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <list>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include "runner/frames.h"

namespace cohort::runner {
namespace {

constexpr int kCrashed = 42;
constexpr int kForeverPaceMs = 1;

struct Job {
  GenerateRequest request;
  int32_t choice = 0;
  std::vector<std::string> words;
  size_t next = 0;
  size_t crash_after = 0;
  bool forever = false, stalled = false;
  std::optional<Failure> failure;
};

std::string prompt_of(const GenerateRequest& request) {
  if (request.prompt) return *request.prompt;
  if (request.prompt_tokens) return "say " + std::to_string(request.prompt_tokens->size());
  if (!request.messages || request.messages->empty()) return "";
  return request.messages->back().value("content", "");
}

void parse_prompt(Job& job) {
  std::istringstream in(prompt_of(job.request));
  std::string word;
  in >> word;
  if (word == "crash") in >> job.crash_after >> word;
  if (word == "poison") ::_exit(kCrashed);
  if (word == "hang") ::pause();
  job.forever = word == "forever";
  job.stalled = word == "stall";
  if (word == "seed")
    job.words = {"seed", std::to_string(job.request.sampling.seed.value_or(0) + job.choice)};
  if (word == "fail") {
    Failure failure;
    in >> failure.code;
    std::getline(in >> std::ws, failure.message);
    job.failure = failure;
  } else if (word == "flood") {
    size_t count = 0;
    in >> count;
    job.words.assign(count, std::string(1024, 'x'));
  } else {
    while (in >> word) job.words.push_back(word);
  }
  const auto limit = static_cast<size_t>(job.request.max_tokens);
  if (limit > 0 && job.words.size() > limit) job.words.resize(limit);
  job.next = job.request.generated.size();
}

class FakeRunner {
 public:
  FakeRunner(int fd, std::string mood) : fd_(fd), mood_(std::move(mood)) {}

  int run() {
    for (;;) {
      if (!read_frames(pace_ms())) return 0;
      for (auto job = jobs_.begin(); job != jobs_.end();)
        job = step(*job) ? std::next(job) : jobs_.erase(job);
      if (jobs_.empty()) send_stats();
    }
  }

 private:
  // How long to listen before the next token.
  int pace_ms() const {
    int pace = -1;
    for (const Job& job : jobs_) {
      if (!job.stalled) pace = job.forever && pace != 0 ? kForeverPaceMs : 0;
    }
    return pace;
  }

  template <class T>
  void send(FrameType type, const T& body) {
    const std::string bytes = encode_frame(type, body).value();
    for (size_t at = 0; at < bytes.size();) {
      const ssize_t size = ::write(fd_, bytes.data() + at, bytes.size() - at);
      if (size <= 0) ::_exit(0);
      at += static_cast<size_t>(size);
    }
  }

  void send_stats() {
    const auto running = static_cast<int32_t>(jobs_.size());
    if (running == std::exchange(sent_running_, running)) return;
    send(FrameType::kStats, RunnerStats{.running = running, .rss_bytes = 1 << 20});
  }

  bool read_frames(int timeout_ms) {
    pollfd waiting{fd_, POLLIN, 0};
    if (::poll(&waiting, 1, timeout_ms) <= 0) return true;
    char bytes[65536];
    const ssize_t size = ::read(fd_, bytes, sizeof bytes);
    if (size <= 0) return false;
    decoder_.append({bytes, static_cast<size_t>(size)});
    for (;;) {
      const auto frame = decoder_.next().value();
      if (!frame) return true;
      if (frame->type == FrameType::kShutdown) return false;
      on_frame(*frame);
    }
  }

  void on_frame(const Frame& frame) {
    if (frame.type == FrameType::kLoad) return load(from_json<LoadCommand>(frame.body).value());
    if (frame.type == FrameType::kMeasure)
      return measure(from_json<MeasureCommand>(frame.body).value());
    if (frame.type == FrameType::kConnect)
      return connect(from_json<ConnectCommand>(frame.body).value());
    if (frame.type == FrameType::kCancel) {
      const auto id = from_json<RequestRef>(frame.body)->id;
      jobs_.remove_if([&](const Job& job) { return job.request.id == id; });
      return send_stats();
    }
    const auto request = from_json<GenerateRequest>(frame.body).value();
    for (int32_t choice = 0; choice < request.choices; ++choice) {
      Job& job = jobs_.emplace_back(Job{.request = request, .choice = choice});
      parse_prompt(job);
    }
    send_stats();
  }

  void load(const LoadCommand& command) {
    if (command.model == "crash-on-load") ::_exit(kCrashed);
    if (command.model == "never-ready") ::pause();
    if (command.model == "fail-on-load") {
      send(FrameType::kFailed,
           Failure{.code = "unavailable", .message = "the weights are 3 GiB too large"});
      ::_exit(0);
    }
    send(FrameType::kProgress, LoadProgress{.layers_loaded = 2, .total_layers = 2});
    if (!command.group) return become_ready();
    ranks_ = 0;
    for (const StageLayout& stage : command.group->stages) ranks_ += stage.ranks.size();
    send(FrameType::kListening, Listening{.port = static_cast<uint16_t>(1000 + command.rank)});
  }

  void measure(const MeasureCommand& command) {
    measures_ = command;
    ranks_ = 2;
    send(FrameType::kListening, Listening{.port = static_cast<uint16_t>(1000 + command.rank)});
  }

  [[noreturn]] void tell_measured() {
    if (mood_ == "stalled") ::pause();
    if (mood_ == "unreachable") {
      send(FrameType::kFailed,
           Failure{.code = "unavailable", .message = "nothing comes across from rxe0"});
    } else if (measures_->rank == 0) {
      send(FrameType::kMeasured, LinkMeasurement{measures_->transport, 6, 9, 40'000});
    }
    ::_exit(0);
  }

  // The others' addresses must be complete; nobody is really called.
  void connect(const ConnectCommand& command) {
    if (command.key.size() != 64 || command.ranks.size() + 1 != ranks_) ::_exit(kCrashed);
    for (const RankAddress& rank : command.ranks) {
      const bool is_told = !measures_ || rank.rank == 1;  // rank 0 dials the other
      if ((is_told && rank.port != 1000 + rank.rank) || rank.host.empty()) ::_exit(kCrashed);
    }
    if (measures_) tell_measured();
    become_ready();
  }

  void become_ready() {
    send(FrameType::kReady,
         ReadyInfo{.architecture = "fake", .backend = "cpu: none", .context_length = 4096});
  }

  // One token. False: the job is done.
  bool step(Job& job) {
    if (job.stalled) return true;
    GenerateDelta delta{.id = job.request.id, .choice = job.choice};
    if (job.failure) {
      delta.finish_reason = "error";
      delta.error = job.failure;
      send(FrameType::kDelta, delta);
      return false;
    }
    const bool more = job.forever || job.next < job.words.size();
    if (more) add_token(job, delta);
    const bool last = !job.forever && job.next >= job.words.size();
    if (last) add_usage(job, delta);
    send(FrameType::kDelta, delta);
    if (job.crash_after > 0 && job.next == job.crash_after) ::_exit(kCrashed);
    return !last;
  }

  void add_token(Job& job, GenerateDelta& delta) {
    const std::string word = job.forever ? "again" : job.words[job.next];
    delta.text = job.next == 0 ? word : " " + word;
    if (job.request.echo && job.next == 0) delta.text = prompt_of(job.request) + delta.text;
    delta.tokens.push_back(static_cast<int32_t>(job.next));
    if (job.request.sampling.logprobs >= 0) {
      TokenLogprob chosen{.id = delta.tokens[0], .piece = word, .logprob = -0.5f};
      chosen.bytes.assign(word.begin(), word.end());
      std::vector<TokenLogprob> top(static_cast<size_t>(job.request.sampling.logprobs), chosen);
      delta.logprobs.push_back({.chosen = chosen, .top = top});
    }
    ++job.next;
  }

  void add_usage(const Job& job, GenerateDelta& delta) {
    const auto limit = static_cast<size_t>(job.request.max_tokens);
    delta.finish_reason = limit > 0 && job.next >= limit ? "length" : "stop";
    delta.prompt_tokens = 5;
    delta.cached_tokens = 2;
    delta.completion_tokens = static_cast<int32_t>(job.next);
    delta.prefill_seconds = 0.25;
    delta.decode_seconds = 0.5;
  }

  int fd_;
  std::string mood_;
  std::optional<MeasureCommand> measures_;
  FrameDecoder decoder_;
  std::list<Job> jobs_;
  int32_t sent_running_ = 0;
  size_t ranks_ = 1;
};

}  // namespace
}  // namespace cohort::runner

int main(int argc, char** argv) {
  const std::string last_but_one = argc >= 3 ? argv[argc - 2] : "";
  if (last_but_one != "--fd") return 2;
  return cohort::runner::FakeRunner(std::atoi(argv[argc - 1]), argv[1]).run();
}
