#include "cli/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "base/json.h"
#include "base/bytes.h"

namespace cohort::cli {
namespace {

constexpr std::chrono::milliseconds kRedrawInterval{100};
constexpr std::chrono::seconds kPlainInterval{5};
constexpr int kBarColumns = 28;

// Columns a terminal needs for UTF-8 text: continuation bytes take none. (Wide characters count as one.)
size_t display_columns(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

std::string bar(double fraction) {
  const int filled = static_cast<int>(std::clamp(fraction, 0.0, 1.0) * kBarColumns);
  std::string text;
  for (int i = 0; i < kBarColumns; ++i) text += i < filled ? "█" : "░";
  return text;
}

std::string duration(double seconds) {
  if (seconds < 60) return fmt::format("{:.0f} s", seconds);
  const int64_t whole = static_cast<int64_t>(seconds);
  if (whole < 3600) return fmt::format("{}:{:02}", whole / 60, whole % 60);
  return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

}  // namespace

bool is_terminal(int fd) { return isatty(fd) == 1; }

bool wants_colour(int fd) {
  const char* no_colour = std::getenv("NO_COLOR");
  return is_terminal(fd) && (no_colour == nullptr || *no_colour == '\0');
}

int terminal_columns(int fd) {
  winsize size{};
  if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

Table::Table(std::vector<std::string> heading) { rows_.push_back(std::move(heading)); }

void Table::add(std::vector<std::string> row) {
  row.resize(rows_.front().size());
  rows_.push_back(std::move(row));
}

std::string Table::to_string(bool colour) const {
  std::vector<size_t> widths(rows_.front().size());
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i)
      widths[i] = std::max(widths[i], display_columns(row[i]));
  }
  std::string text;
  for (size_t r = 0; r < rows_.size(); ++r) {
    std::string line;
    for (size_t i = 0; i < rows_[r].size(); ++i) {
      line += rows_[r][i];
      const bool last = i + 1 == rows_[r].size();
      if (!last) line += std::string(widths[i] - display_columns(rows_[r][i]) + 2, ' ');
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += r == 0 && colour ? "\033[1m" + line + "\033[0m\n" : line + "\n";
  }
  return text;
}

Progress::Progress(std::string what) : what_(std::move(what)), terminal_(is_terminal(2)) {}

Progress::~Progress() { finish(); }

bool Progress::due() {
  const auto now = Clock::now();
  const auto interval =
      terminal_ ? Clock::duration(kRedrawInterval) : Clock::duration(kPlainInterval);
  if (last_shown_ != Clock::time_point{} && now - last_shown_ < interval) return false;
  last_shown_ = now;
  return true;
}

void Progress::show(double fraction, const std::string& figures) {
  shown_ = true;
  if (!terminal_) {
    fmt::print(stderr, "{}: {:.0f}%  {}\n", what_, fraction * 100, figures);
    return;
  }
  fmt::print(stderr, "\r{}  {} {:3.0f}%  {}\033[K", what_, bar(fraction), fraction * 100, figures);
  std::fflush(stderr);
}

void Progress::update_bytes(uint64_t done_bytes, uint64_t total_bytes) {
  if (!have_first_) {
    first_bytes_ = done_bytes;  // a resumed download starts with bytes that cost no time
    have_first_ = true;
  }
  const bool complete = done_bytes >= total_bytes;
  if (!due() && !complete) return;
  const double seconds = std::chrono::duration<double>(Clock::now() - started_).count();
  const double rate = seconds > 0 ? static_cast<double>(done_bytes - first_bytes_) / seconds : 0;
  std::string figures = fmt::format("{} / {}", format_bytes(done_bytes), format_bytes(total_bytes));
  if (rate > 0) figures += fmt::format("  {}/s", format_bytes(static_cast<uint64_t>(rate)));
  if (rate > 0 && !complete) {
    figures +=
        fmt::format("  {} left", duration(static_cast<double>(total_bytes - done_bytes) / rate));
  }
  const double fraction =
      total_bytes > 0 ? static_cast<double>(done_bytes) / static_cast<double>(total_bytes) : 1;
  show(fraction, figures);
}

void Progress::update_count(int64_t done, int64_t total, std::string_view unit) {
  if (!due() && done < total) return;
  show(total > 0 ? static_cast<double>(done) / static_cast<double>(total) : 1,
       fmt::format("{} / {} {}", done, total, unit));
}

void Progress::finish() {
  if (shown_ && terminal_) fmt::print(stderr, "\n");
  shown_ = false;
}

int print_json(const Json& value) {
  fmt::print("{}\n", value.dump(2, ' ', false, Json::error_handler_t::replace));
  return kExitFine;
}

int report(const Error& error) {
  std::string line = error.message;
  std::replace(line.begin(), line.end(), '\n', ' ');
  fmt::print(stderr, "cohort: {}\n", line);
  return error.code == Code::kCancelled ? kExitInterrupted : kExitFailed;
}

}  // namespace cohort::cli
