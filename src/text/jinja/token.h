// A template as tokens: text between tags, and the words inside them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace cohort::text::jinja {

struct Position {
  int line = 1, column = 1;  // from 1; columns are bytes
};

struct Token {
  enum Kind {
    kData,
    kOutputBegin,
    kOutputEnd,
    kBlockBegin,
    kBlockEnd,
    kName,
    kString,
    kInteger,
    kFloat,
    kOperator,
    kEnd,
  };
  Kind kind;
  std::string text;  // strings unescaped, numbers without underscores
  Position at;
};

inline constexpr size_t kMaxTemplateBytes = 4 << 20;
inline constexpr size_t kMaxTagTokens = 4000;

// Ends with a kEnd token. White space goes as transformers sets it up: trim_blocks and lstrip_blocks on, one newline at
// the template's end dropped, CR LF and CR read as LF. kInvalidArgument gives line and column.
Result<std::vector<Token>> tokenize(std::string_view source);

// "line 3, column 7: what"
tl::unexpected<Error> fail_at(Position at, std::string_view what);

}  // namespace cohort::text::jinja
