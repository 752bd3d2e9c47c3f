// Errors as values: what the world can do (peer gone, bad file, bad request, full disk).
// What only a bug can do is a COHORT_CHECK (base/check.h). We never throw.
#pragma once

#include <string>
#include <string_view>
#include <tl/expected.hpp>
#include <utility>

#include <fmt/format.h>

namespace cohort {

// Few, and each maps to one HTTP status (http_status) and one exit code of the CLI.
enum class Code {
  kInvalidArgument,    // malformed input: 400
  kUnauthorized,       // missing or wrong key: 401
  kNotFound,           // model, file, id unknown: 404
  kTooLarge,           // over a named limit: 413
  kUnprocessable,      // well formed, wrong type or value: 422
  kResourceExhausted,  // queue full, try again later: 429
  kCancelled,          // the caller went away: 499
  kInternal,           // a bug, or a library's failure: 500
  kUnsupported,        // known, but not built: 501
  kUnavailable,        // no device, no memory, peer gone: 503
  kTimeout,            // a deadline passed: 504
  kDataLoss,           // corrupt or truncated data: 500
};

int http_status(Code code);
std::string_view code_name(Code code);
Code code_from_name(std::string_view name);  // kInternal when there is none of that name

struct Error {
  Code code = Code::kInternal;
  std::string message;  // names the thing, the numbers and the remedy; one line
};

template <class T = void>
using Result = tl::expected<T, Error>;

// return fail(Code::kNotFound, "no model named '{}'", name);
template <class... Args>
tl::unexpected<Error> fail(Code code, fmt::format_string<Args...> format, Args&&... args) {
  return tl::unexpected<Error>(Error{code, fmt::format(format, std::forward<Args>(args)...)});
}

// The same error with "context: " in front of its message.
tl::unexpected<Error> fail_in(std::string_view context, Error error);

}  // namespace cohort

#define COHORT_CONCAT_INNER(a, b) a##b
#define COHORT_CONCAT(a, b) COHORT_CONCAT_INNER(a, b)

// COHORT_TRY(auto x, make_x());   declares x, or returns the error.
#define COHORT_TRY(declaration, ...) \
  COHORT_TRY_INNER(COHORT_CONCAT(cohort_try_, __LINE__), declaration, __VA_ARGS__)
#define COHORT_TRY_INNER(result, declaration, ...)                                  \
  auto result = (__VA_ARGS__);                                                      \
  if (!result) return ::tl::unexpected<::cohort::Error>(std::move(result).error()); \
  declaration = std::move(*result)

// COHORT_TRY_VOID(write(x));   for Result<void>.
#define COHORT_TRY_VOID(...)                                                        \
  do {                                                                              \
    auto cohort_try_void = (__VA_ARGS__);                                           \
    if (!cohort_try_void)                                                           \
      return ::tl::unexpected<::cohort::Error>(std::move(cohort_try_void).error()); \
  } while (false)
