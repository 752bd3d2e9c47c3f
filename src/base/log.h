// One log for the process, on stderr, as text or JSON lines. No prompt and no answer is ever logged.
#pragma once

#include <string_view>

#include <fmt/format.h>

#include "base/result.h"

namespace cohort::log {

enum class Level { kDebug, kInfo, kWarn, kError, kOff };
enum class Format { kText, kJson };

// Call once, before other threads start. `process` names the writer in each line ("device", "runner 0").
void configure(Level level, Format format, std::string_view process);
Result<Level> parse_level(std::string_view name);
Result<Format> parse_format(std::string_view name);

void write(Level level, std::string_view message);  // thread safe
bool enabled(Level level);

template <class... Args>
void debug(fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(Level::kDebug))
    write(Level::kDebug, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void info(fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(Level::kInfo)) write(Level::kInfo, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void warn(fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(Level::kWarn)) write(Level::kWarn, fmt::format(format, std::forward<Args>(args)...));
}
template <class... Args>
void error(fmt::format_string<Args...> format, Args&&... args) {
  if (enabled(Level::kError))
    write(Level::kError, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace cohort::log
