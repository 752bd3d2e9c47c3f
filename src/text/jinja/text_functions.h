// Python's string operations on text that keeps its provenance. Shared by filters and methods.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/jinja/value.h"

namespace cohort::text::jinja {

enum class Side { kLeft, kRight, kBoth };
enum class Case { kUpper, kLower, kCapitalize, kTitle, kSwap };

// Without `characters`: white space.
Text strip(const Text& text, std::optional<std::string_view> characters, Side side);
Text change_case(const Text& text, Case wanted);
// At most `count` times; negative: all.
Text replace(const Text& text, std::string_view old_part, const Text& new_part, int64_t count);
// Pads with `fill` to `width` code points; kBoth centres as Python does.
Text pad(const Text& text, size_t width, std::string_view fill, Side side);

// `limit` counts cuts; negative: no limit. Cuts come from the left, or from the right. None gives many more than
// kMaxListItems parts: as_list() refuses those.
std::vector<Text> split(const Text& text, std::string_view separator, int64_t limit, Side from);
std::vector<Text> split_white_space(const Text& text, int64_t limit, Side from);
std::vector<Text> split_lines(const Text& text, bool keep_ends);

Result<Value> as_list(std::vector<Text> texts);  // kTooLarge over kMaxListItems

// As std::string_view's find and rfind, in linear time whatever the texts are.
size_t find_bytes(std::string_view text, std::string_view part, size_t from);
size_t find_bytes_back(std::string_view text, std::string_view part);

}  // namespace cohort::text::jinja
