#include "runner/runner.h"

#include <chrono>
#include <csignal>

#include "base/log.h"
#include "runner/delta_frames.h"
#include "runner/frame_socket.h"
#include "runner/hangup_watch.h"
#include "runner/link_measure.h"
#include "runner/loaded_model.h"
#include "runner/membership.h"
#include "runner/process_memory.h"
#include "runner/rank.h"
#include "runner/service.h"

namespace cohort::runner {
namespace {

using Clock = std::chrono::steady_clock;

// When rank 0's daemon goes, the step under way may end before the group does.
constexpr std::chrono::milliseconds kEndGrace{2000};

Result<Frame> read_first(FrameSocket& socket) {
  COHORT_TRY(std::optional<Frame> frame, socket.read());
  if (!frame) return fail(Code::kCancelled, "the daemon closed before it said what to load");
  if (frame->type == FrameType::kLoad || frame->type == FrameType::kMeasure)
    return std::move(*frame);
  return fail(Code::kDataLoss, "the first frame has type {}; a load command is expected",
              static_cast<int>(frame->type));
}

Result<LoadCommand> to_load_command(const Frame& frame) {
  COHORT_TRY(LoadCommand command, from_json<LoadCommand>(frame.body));
  if (command.max_sequences < 1 || command.max_queued < 0) {
    return fail(Code::kInvalidArgument, "max_sequences {} and max_queued {} make no sense",
                command.max_sequences, command.max_queued);
  }
  return command;
}

Result<LoadedModel> load(FrameSocket& socket, const LoadCommand& command,
                         const Placement& placement) {
  auto model = load_model(command, placement, [&socket](int32_t loaded, int32_t total) {
    // Nobody listens any more? Then the first read ends the process.
    (void)socket.send(FrameType::kProgress,
                      LoadProgress{.layers_loaded = loaded, .total_layers = total});
  });
  if (!model) return fail_in(command.model_name, std::move(model).error());
  return model;
}

ReadyInfo ready_info(const LoadedModel& model, double load_seconds,
                     const std::vector<RankLink>& links) {
  const backend::BackendInfo info = model.backend->info();
  return {.architecture = model.model->info().model_type,
          .backend = fmt::format("{}: {}", info.name, info.detail),
          .context_length = model.kv.context_length,
          .weight_bytes = info.weight_bytes,
          .kv_bytes = info.kv_bytes,
          .rss_bytes = resident_bytes(),
          .load_seconds = load_seconds,
          .links = links};
}

// Loads this rank's part, and with the others' answers requests until the end.
Result<void> serve(FrameSocket& socket, const LoadCommand& command, const Membership& member) {
  const Clock::time_point begin = Clock::now();
  COHORT_TRY(LoadedModel model, load(socket, command, member.placement));
  const double load_seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  if (auto made = create_kv(command, *member.group, model); !made)
    return fail_in(command.model_name, std::move(made).error());
  COHORT_TRY_VOID(member.group->barrier(transport::Deadline::after(kStepLimit)));

  Rank rank(*model.backend, *model.model, *member.group, member.placement);
  COHORT_TRY_VOID(rank.stage().tune(transport::Deadline::after(kStepLimit)));
  if (!socket.send(FrameType::kReady, ready_info(model, load_seconds, member.links))) return {};
  if (member.placement.rank == 0) {
    Service(socket, command, model, rank).run();
    return {};
  }
  COHORT_TRY_VOID(follow(rank, model.kv.pages));
  log::info("rank 0 left");
  return {};
}

Result<void> serve(FrameSocket& socket, int fd, const LoadCommand& command) {
  if (!command.group) return serve(socket, command, alone());
  const HangupWatch watch(fd, command.rank == 0 ? kEndGrace : std::chrono::milliseconds(0));
  COHORT_TRY(const Membership member, join_group(socket, command, watch));
  Result<void> done = serve(socket, command, member);
  if (!done) member.group->abort(done.error().message);
  return done;
}

int refuse(FrameSocket& socket, const Error& error, int exit_code) {
  log::error("{}", error.message);
  (void)socket.send(FrameType::kFailed, failure_frame(error));
  return exit_code;
}

}  // namespace

int run_runner(int fd) {
  std::signal(SIGPIPE, SIG_IGN);  // a peer that went away is an error of write()
  FrameSocket socket(fd);
  const auto first = read_first(socket);
  if (!first) return refuse(socket, first.error(), 1);
  if (first->type == FrameType::kMeasure) {
    const auto measured = measure_link(socket, fd, first->body);
    return measured ? 0 : refuse(socket, measured.error(), 0);
  }
  const auto command = to_load_command(*first);
  if (!command) return refuse(socket, command.error(), 1);
  const auto served = serve(socket, fd, *command);
  return served ? 0 : refuse(socket, served.error(), 0);
}

}  // namespace cohort::runner
