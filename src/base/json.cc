#include "base/json.h"

#include <algorithm>

namespace cohort {
namespace {

struct Extent {
  int depth = 0;
  size_t values = 1;
};

// Measured before parsing, so that hostile text costs one pass over the bytes and no stack or heap.
Extent measure(std::string_view text) {
  Extent extent;
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') ++i;
      if (c == '"') in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      ++extent.values;
      extent.depth = std::max(extent.depth, ++depth);
    } else if (c == '}' || c == ']') {
      --depth;
    } else if (c == ',') {
      ++extent.values;
    }
  }
  return extent;
}

// Remembers where parsing stopped; builds nothing.
struct ErrorPosition : nlohmann::json_sax<Json> {
  size_t position = 0;
  std::string what;
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool start_object(size_t) override { return true; }
  bool key(string_t&) override { return true; }
  bool end_object() override { return true; }
  bool start_array(size_t) override { return true; }
  bool end_array() override { return true; }
  bool parse_error(size_t at, const std::string& token,
                   const nlohmann::detail::exception&) override {
    position = at;
    what = token;
    return false;
  }
};

}  // namespace

Result<Json> parse_json(std::string_view text, int max_depth) {
  const Extent extent = measure(text);
  if (extent.depth > max_depth) {
    return fail(Code::kInvalidArgument, "JSON is nested deeper than {} levels", max_depth);
  }
  if (extent.values > kMaxJsonValues) {
    return fail(Code::kInvalidArgument, "JSON has more than {} values", kMaxJsonValues);
  }
  Json value = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!value.is_discarded()) return value;
  ErrorPosition error;
  Json::sax_parse(text, &error);
  return fail(Code::kInvalidArgument, "malformed JSON at byte {} of {}", error.position,
              text.size());
}

std::string dump_json(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

namespace json_detail {

tl::unexpected<Error> type_error(const std::string& path, std::string_view wanted,
                                 const Json& got) {
  return fail(Code::kUnprocessable, "{}: expected {}, got {}", path.empty() ? "value" : path,
              wanted,
              got.is_primitive() && !got.is_string() ? dump_json(got)
                                                     : std::string(got.is_array()    ? "an array"
                                                                   : got.is_object() ? "an object"
                                                                                     : "a string"));
}

}  // namespace json_detail
}  // namespace cohort
