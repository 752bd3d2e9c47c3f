// What people see: aligned tables, progress on stderr, colour where it is wanted (a terminal, and no NO_COLOR).
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "base/result.h"

namespace cohort::cli {

bool is_terminal(int fd);
bool wants_colour(int fd);
int terminal_columns(int fd);  // 80 when unknown

// Columns as wide as their widest cell; numbers are the caller's text. The first row is the heading.
class Table {
 public:
  explicit Table(std::vector<std::string> heading);
  void add(std::vector<std::string> row);
  // A bold heading when `colour`; one line a row, two spaces between columns, nothing after the last cell.
  std::string to_string(bool colour) const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

// Long work on stderr: a bar that redraws itself on a terminal, else a plain line at most every five seconds.
// One at a time, one thread.
class Progress {
 public:
  explicit Progress(std::string what);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void update_bytes(uint64_t done_bytes, uint64_t total_bytes);  // with rate and time left
  void update_count(int64_t done, int64_t total, std::string_view unit);
  void finish();  // leaves the last state on the screen

 private:
  using Clock = std::chrono::steady_clock;
  bool due();
  void show(double fraction, const std::string& figures);

  std::string what_;
  bool terminal_;
  bool shown_ = false;
  Clock::time_point started_ = Clock::now();
  Clock::time_point last_shown_{};
  uint64_t first_bytes_ = 0;
  bool have_first_ = false;
};

// Prints it indented on stdout. Returns kExitFine.
int print_json(const nlohmann::ordered_json& value);

// Prints "cohort: <message>" on stderr, in one line, and returns the exit code for it.
int report(const Error& error);

inline constexpr int kExitFine = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitInterrupted = 130;

}  // namespace cohort::cli
