// Values as text: Python's str() and repr(), and json.dumps.
#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "text/jinja/value.h"

namespace cohort::text::jinja {

// str(value). Strings keep their provenance; a container is untrusted as a whole when any string in it is.
Text to_text(const Value& value);
Text to_repr(const Value& value);
std::string float_repr(double value);

struct JsonStyle {
  bool ensure_ascii = false;
  bool sort_keys = false;
  std::optional<std::string> indent;  // what one level is indented by
  std::string item_separator = ", ";
  std::string key_separator = ": ";
};

// Untrusted as a whole when any string in the value is. kInvalidArgument for what JSON cannot hold.
Result<Text> to_json_text(const Value& value, const JsonStyle& style);

}  // namespace cohort::text::jinja
