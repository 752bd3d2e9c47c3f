#include "net/child_process.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/asio/read.hpp>
#include <boost/asio/read_until.hpp>

namespace cohort::net {
namespace {

// "--fd 3" behind `-c script` is $0 and $1 to the shell.
std::vector<std::string> shell(std::string script) { return {"/bin/sh", "-c", std::move(script)}; }

Task<void> record_exit(ChildProcess& child, TimePoint deadline,
                       std::optional<Result<ExitStatus>>& out) {
  out = co_await child.wait(deadline);
}

Result<ExitStatus> wait_for(Loop& loop, ChildProcess& child, TimePoint deadline = kNever) {
  std::optional<Result<ExitStatus>> out;
  TaskGroup tasks(loop.get_executor());
  tasks.spawn(record_exit(child, deadline, out));
  loop.restart();
  loop.run();
  return *out;
}

std::string read_all(ChildProcess& child) {
  std::string text;
  boost::system::error_code end;
  asio::read(child.socket(), asio::dynamic_buffer(text), end);
  return text;
}

TEST(ChildProcess, TellsHowItEnded) {
  Loop loop(1);
  auto exits = ChildProcess::spawn(loop.get_executor(), shell("exit 7")).value();
  EXPECT_EQ(wait_for(loop, exits)->describe(), "exited with code 7");
  auto dies = ChildProcess::spawn(loop.get_executor(), shell("kill -11 $$")).value();
  EXPECT_EQ(wait_for(loop, dies)->describe(), "was killed by signal 11 (Segmentation fault)");
  auto broken = ChildProcess::spawn(loop.get_executor(), {"/proc/self/status"});
  EXPECT_FALSE(broken);
}

TEST(ChildProcess, WaitingHasADeadlineAndTheDestructorAnEnd) {
  Loop loop(1);
  pid_t pid;
  {
    auto child = ChildProcess::spawn(loop.get_executor(), shell("read line <&3")).value();
    pid = child.pid();
    EXPECT_EQ(wait_for(loop, child, Clock::now()).error().code, Code::kTimeout);
  }
  EXPECT_NE(::kill(pid, 0), 0);
}

TEST(ChildProcess, InheritsItsSocketAndNothingElse) {
  Loop loop(1);
  const int leak = ::open("/etc/passwd", O_RDONLY);  // without O_CLOEXEC, as libraries open files
  auto child = ChildProcess::spawn(loop.get_executor(), shell("ls -l /proc/$$/fd >&3")).value();
  ::close(leak);
  const std::string files = read_all(child);
  EXPECT_NE(files.find(" 3 -> socket:"), std::string::npos) << files;
  EXPECT_EQ(files.find("/etc/passwd"), std::string::npos) << files;
  EXPECT_EQ(files.find("eventpoll"), std::string::npos) << files;
}

// In a process of its own: makes a child that waits for ever, tells its pid, and waits to be killed.
[[noreturn]] void be_a_parent(int tell) {
  Loop loop(1);
  auto child =
      ChildProcess::spawn(loop.get_executor(), shell("echo up >&3; exec sleep 3600")).value();
  std::string up;
  boost::system::error_code error;
  asio::read_until(child.socket(), asio::dynamic_buffer(up), '\n', error);
  const pid_t pid = child.pid();
  if (::write(tell, &pid, sizeof pid) != sizeof pid) ::_exit(1);
  for (;;) ::pause();
}

TEST(ChildProcess, DiesWithAParentThatIsKilled) {
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);  // the grandchild becomes ours, so that we can wait for it
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  const pid_t parent = ::fork();
  if (parent == 0) be_a_parent(ends[1]);
  pid_t grandchild = 0;
  ASSERT_EQ(::read(ends[0], &grandchild, sizeof grandchild),
            static_cast<ssize_t>(sizeof grandchild));
  ::kill(parent, SIGKILL);
  ::waitpid(parent, nullptr, 0);
  int status = 0;
  EXPECT_EQ(::waitpid(grandchild, &status, 0), grandchild);
  EXPECT_TRUE(WIFSIGNALED(status));
  ::close(ends[0]);
  ::close(ends[1]);
}

TEST(OutputOf, GivesWhatACommandPrintsAndNothingElseIsInherited) {
  const auto soon = Clock::now() + std::chrono::seconds(30);
  EXPECT_EQ(output_of({"/bin/sh", "-c", "echo one; echo two >&2"}, 100, soon).value(), "one\n");
  EXPECT_EQ(output_of({"/bin/ls", "/proc/self/fd"}, 100, soon).value(), "0\n1\n2\n3\n")
      << "3 is the folder itself";
  EXPECT_EQ(output_of({"/bin/sh", "-c", "exit 3"}, 100, soon).error().code, Code::kUnavailable);
  EXPECT_EQ(output_of({"/nowhere/at/all"}, 100, soon).error().code, Code::kUnavailable);
  EXPECT_EQ(output_of({"/bin/sh", "-c", "yes"}, 100, soon).error().code, Code::kTooLarge);
  EXPECT_EQ(output_of({"/bin/cat", "/dev/zero"}, size_t{1} << 40, Clock::now()).error().code,
            Code::kTimeout);
}

}  // namespace
}  // namespace cohort::net
