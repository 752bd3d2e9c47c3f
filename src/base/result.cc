#include "base/result.h"

namespace cohort {
namespace {

struct CodeInfo {
  Code code;
  int http_status;
  std::string_view name;
};

constexpr CodeInfo kCodes[] = {
    {Code::kInvalidArgument, 400, "invalid_argument"},
    {Code::kUnauthorized, 401, "unauthorized"},
    {Code::kNotFound, 404, "not_found"},
    {Code::kTooLarge, 413, "too_large"},
    {Code::kUnprocessable, 422, "unprocessable"},
    {Code::kResourceExhausted, 429, "resource_exhausted"},
    {Code::kCancelled, 499, "cancelled"},
    {Code::kInternal, 500, "internal"},
    {Code::kUnsupported, 501, "unsupported"},
    {Code::kUnavailable, 503, "unavailable"},
    {Code::kTimeout, 504, "timeout"},
    {Code::kDataLoss, 500, "data_loss"},
};

const CodeInfo& info(Code code) {
  for (const CodeInfo& entry : kCodes) {
    if (entry.code == code) return entry;
  }
  return kCodes[7];  // internal
}

}  // namespace

int http_status(Code code) { return info(code).http_status; }
std::string_view code_name(Code code) { return info(code).name; }

Code code_from_name(std::string_view name) {
  for (const CodeInfo& entry : kCodes) {
    if (entry.name == name) return entry.code;
  }
  return Code::kInternal;
}

tl::unexpected<Error> fail_in(std::string_view context, Error error) {
  return tl::unexpected<Error>(Error{error.code, fmt::format("{}: {}", context, error.message)});
}

}  // namespace cohort
