#include "base/bytes.h"

#include <cctype>
#include <cstdlib>

namespace cohort {
namespace {

constexpr std::string_view kHexDigits = "0123456789abcdef";

// The factor a suffix stands for: "", "b", "k", "kb", "kib" and so on up to t.
std::optional<double> unit_factor(std::string_view suffix) {
  std::string unit;
  for (char c : suffix) {
    if (c != ' ') unit += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  if (unit.empty() || unit == "b") return 1;
  const size_t power = std::string_view("kmgt").find(unit[0]);
  if (power == std::string_view::npos) return std::nullopt;
  const std::string_view rest = std::string_view(unit).substr(1);
  if (!rest.empty() && rest != "ib" && rest != "b") return std::nullopt;
  const double base = rest == "b" ? 1000 : 1024;
  double factor = base;
  for (size_t i = 0; i < power; ++i) factor *= base;
  return factor;
}

}  // namespace

std::string to_hex(std::string_view bytes) {
  std::string text;
  for (const unsigned char byte : bytes) {
    text += kHexDigits[byte >> 4];
    text += kHexDigits[byte & 15];
  }
  return text;
}

std::optional<std::string> from_hex(std::string_view text) {
  if (text.size() % 2 != 0) return std::nullopt;
  std::string bytes;
  for (size_t i = 0; i < text.size(); i += 2) {
    const size_t high = kHexDigits.find(text[i]), low = kHexDigits.find(text[i + 1]);
    if (high == std::string_view::npos || low == std::string_view::npos) return std::nullopt;
    bytes += static_cast<char>(high * 16 + low);
  }
  return bytes;
}

std::string format_bytes(uint64_t size_bytes) {
  constexpr std::string_view kUnits[] = {"KiB", "MiB", "GiB", "TiB", "PiB"};
  if (size_bytes < 1024) return fmt::format("{} B", size_bytes);
  double value = static_cast<double>(size_bytes) / 1024;
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    ++unit;
  }
  return value < 10 ? fmt::format("{:.1f} {}", value, kUnits[unit])
                    : fmt::format("{:.0f} {}", value, kUnits[unit]);
}

Result<uint64_t> parse_bytes(std::string_view text) {
  // Not from_chars(): libc++ has none for floating point.
  const std::string number(text.substr(0, text.find_first_not_of("0123456789.")));
  const double value = number.empty() ? -1 : std::strtod(number.c_str(), nullptr);
  const std::optional<double> factor = unit_factor(text.substr(number.size()));
  if (!factor || !(value >= 0) || value * *factor >= 0x1p63) {
    return fail(Code::kInvalidArgument, "'{}' is not a size; write for example 8GiB or 500MB",
                text);
  }
  return static_cast<uint64_t>(value * *factor);
}

}  // namespace cohort
