// A runner as a thread of this process, and the daemon's end of its socket.
#pragma once

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <map>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "runner/frame_socket.h"
#include "runner/runner.h"

namespace cohort::runner::testing {

struct Answer {
  std::string text;
  std::vector<int32_t> tokens;
  std::vector<SampledLogprobs> logprobs;
  GenerateDelta last;
  bool finished = false;
};

// The daemon's end. The runner ends with it.
class Daemon {
 public:
  Daemon() {
    int ends[2];
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    socket_.emplace(ends[0]);
    runner_ = std::thread([this, end = ends[1]] { exit_code_ = run_runner(end); });
  }
  ~Daemon() { exit_code(); }

  int exit_code() {
    if (socket_) socket_->shut_down();
    return wait();
  }
  int wait() {
    if (runner_.joinable()) runner_.join();
    return exit_code_;
  }

  template <class T>
  void send(FrameType type, const T& body) {
    ASSERT_TRUE(socket_->send(type, body));
  }
  void send_raw(std::string_view bytes) { ASSERT_TRUE(socket_->write(bytes)); }

  // The next frame that is no progress and no statistics; those are counted. nullopt: the runner closed.
  std::optional<Frame> next() {
    for (;;) {
      auto frame = socket_->read();
      EXPECT_TRUE(frame);
      if (!frame || !*frame) return std::nullopt;
      if ((*frame)->type == FrameType::kStats) {
        stats = from_json<RunnerStats>((*frame)->body).value();
        if (stats.running == 0 && wait_for_idle_) return std::nullopt;
      } else if ((*frame)->type == FrameType::kProgress) {
        progress = from_json<LoadProgress>((*frame)->body).value();
      } else {
        return std::move(*frame);
      }
    }
  }

  ReadyInfo load(const LoadCommand& command) {
    send(FrameType::kLoad, command);
    return ready();
  }
  ReadyInfo ready() {
    const auto frame = next();
    EXPECT_TRUE(frame && frame->type == FrameType::kReady)
        << (frame ? dump_json(frame->body) : "closed");
    return from_json<ReadyInfo>(frame ? frame->body : Json::object()).value_or(ReadyInfo{});
  }

  std::optional<Failure> load_fails(const LoadCommand& command) {
    send(FrameType::kLoad, command);
    return failure();
  }
  std::optional<Failure> failure() {
    const auto frame = next();
    if (!frame || frame->type != FrameType::kFailed) return std::nullopt;
    return from_json<Failure>(frame->body).value();
  }

  void read_delta() {
    const auto frame = next();
    ASSERT_TRUE(frame);
    ASSERT_EQ(frame->type, FrameType::kDelta);
    auto delta = from_json<GenerateDelta>(frame->body);
    ASSERT_TRUE(delta);
    Answer& answer = answers[{delta->id, delta->choice}];
    ASSERT_FALSE(answer.finished);
    answer.text += delta->text;
    answer.tokens.insert(answer.tokens.end(), delta->tokens.begin(), delta->tokens.end());
    answer.logprobs.insert(answer.logprobs.end(), delta->logprobs.begin(), delta->logprobs.end());
    answer.finished = !delta->finish_reason.empty();
    answer.last = std::move(*delta);
  }

  const Answer& finish(uint64_t id, int32_t choice = 0) {
    while (!answers[{id, choice}].finished && !::testing::Test::HasFatalFailure()) read_delta();
    return answers[{id, choice}];
  }

  const Answer& ask(const GenerateRequest& request) {
    send(FrameType::kGenerate, request);
    return finish(request.id);
  }

  // Reads until the runner says that it runs nothing.
  void wait_for_idle() {
    wait_for_idle_ = true;
    while (next()) {
    }
    wait_for_idle_ = false;
  }

  std::map<std::pair<uint64_t, int32_t>, Answer> answers;
  RunnerStats stats;
  LoadProgress progress;

 private:
  std::optional<FrameSocket> socket_;
  std::thread runner_;
  int exit_code_ = -1;
  bool wait_for_idle_ = false;
};

inline LoadCommand demo() { return {.model = "demo", .model_name = "demo", .threads = 1}; }

inline GenerateRequest chat(uint64_t id, std::string content) {
  GenerateRequest request;
  request.id = id;
  request.messages = Json::array({{{"role", "user"}, {"content", std::move(content)}}});
  return request;
}

inline constexpr const char* kLantern = "Light in a transparent protective case.";

}  // namespace cohort::runner::testing
