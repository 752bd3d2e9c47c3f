#include "runner/runner.h"

#include <chrono>
#include <csignal>

#include "base/log.h"
#include "runner/frame_socket.h"
#include "runner/loaded_model.h"
#include "runner/process_memory.h"
#include "runner/service.h"

namespace cohort::runner {
namespace {

using Clock = std::chrono::steady_clock;

Result<LoadCommand> read_command(FrameSocket& socket) {
  COHORT_TRY(const std::optional<Frame> frame, socket.read());
  if (!frame) return fail(Code::kCancelled, "the daemon closed before it said what to load");
  if (frame->type != FrameType::kLoad) {
    return fail(Code::kDataLoss, "the first frame has type {}; a load command is expected",
                static_cast<int>(frame->type));
  }
  COHORT_TRY(LoadCommand command, from_json<LoadCommand>(frame->body));
  if (command.max_sequences < 1 || command.max_queued < 0) {
    return fail(Code::kInvalidArgument, "max_sequences {} and max_queued {} make no sense",
                command.max_sequences, command.max_queued);
  }
  return command;
}

Result<LoadedModel> load(FrameSocket& socket, const LoadCommand& command) {
  return load_model(command, [&socket](int32_t loaded, int32_t total) {
    // Nobody listens any more? Then the first read ends the process.
    (void)socket.send(FrameType::kProgress,
                      LoadProgress{.layers_loaded = loaded, .total_layers = total});
  });
}

ReadyInfo ready_info(const LoadedModel& model, const Service& service, double load_seconds) {
  const backend::BackendInfo info = model.backend->info();
  return {.architecture = model.model->info().model_type,
          .backend = fmt::format("{}: {}", info.name, info.detail),
          .context_length = service.context_length(),
          .weight_bytes = info.weight_bytes,
          .kv_bytes = info.kv_bytes,
          .rss_bytes = resident_bytes(),
          .load_seconds = load_seconds};
}

int refuse(FrameSocket& socket, const Error& error, int exit_code) {
  log::error("{}", error.message);
  (void)socket.send(FrameType::kFailed,
                    Failure{.code = std::string(code_name(error.code)), .message = error.message});
  return exit_code;
}

}  // namespace

int run_runner(int fd) {
  std::signal(SIGPIPE, SIG_IGN);  // a peer that went away is an error of write()
  FrameSocket socket(fd);
  const auto command = read_command(socket);
  if (!command) return refuse(socket, command.error(), 1);
  const Clock::time_point begin = Clock::now();
  auto model = load(socket, *command);
  if (!model) {
    return refuse(socket, fail_in(command->model_name, model.error()).value(), 0);
  }
  const double load_seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  Service service(socket, *command, *model);
  if (!socket.send(FrameType::kReady, ready_info(*model, service, load_seconds))) return 0;
  service.run();
  return 0;
}

}  // namespace cohort::runner
