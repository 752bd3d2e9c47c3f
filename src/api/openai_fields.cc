#include "api/openai_fields.h"

#include <algorithm>
#include <limits>

namespace cohort::api {
namespace {

constexpr size_t kMaxStopBytes = 4096;
constexpr double kAnyNumber = std::numeric_limits<float>::max();

// Takes a number over when it is there and within [low, high].
template <class Out>
Result<void> take_number(const char* name, const std::optional<double>& value, double low,
                         double high, Out& out) {
  if (!value) return {};
  if (!(*value >= low && *value <= high)) {
    return fail(Code::kUnprocessable, "{}: expected a number from {} to {}, got {}", name, low,
                high, *value);
  }
  out = static_cast<float>(*value);
  return {};
}

template <class Out>
Result<void> take_integer(const char* name, const std::optional<int32_t>& value, int32_t low,
                          int32_t high, Out& out) {
  if (!value) return {};
  if (*value < low || *value > high) {
    return fail(Code::kUnprocessable, "{}: expected an integer from {} to {}, got {}", name, low,
                high, *value);
  }
  out = *value;
  return {};
}

Result<void> take_stops(const Json& stop, std::vector<std::string>& out) {
  if (stop.is_null()) return {};
  if (stop.is_string()) {
    out = {stop.get<std::string>()};
  } else {
    COHORT_TRY(out, from_json<std::vector<std::string>>(stop, "stop"));
  }
  if (out.size() > kMaxStops) {
    return fail(Code::kUnprocessable, "stop: expected at most {} strings, got {}", kMaxStops,
                out.size());
  }
  for (size_t i = 0; i < out.size(); ++i) {
    if (out[i].empty() || out[i].size() > kMaxStopBytes) {
      return fail(Code::kUnprocessable, "stop[{}]: expected 1 to {} bytes, got {}", i,
                  kMaxStopBytes, out[i].size());
    }
  }
  return {};
}

Result<void> check_response_format(const Json& format) {
  if (format.is_null()) return {};
  if (!format.is_object()) return fail(Code::kUnprocessable, "response_format: expected an object");
  const auto type = format.find("type");
  if (type != format.end() && type->is_string() && type->get<std::string>() != "text") {
    return fail(Code::kUnprocessable, "response_format.type: only \"text\" is available, not {}",
                dump_json(*type));
  }
  return {};
}

Result<void> take_logit_bias(const std::map<int32_t, float>& bias, RequestedSampling& sampling) {
  for (const auto& [token, value] : bias) {
    if (token < 0 || !(value >= -100 && value <= 100)) {
      return fail(Code::kUnprocessable,
                  "logit_bias.{}: expected a token id with a number from -100 to 100", token);
    }
  }
  sampling.logit_bias = bias;
  return {};
}

}  // namespace

Result<void> apply(const CommonFields& fields, runner::GenerateRequest& request) {
  constexpr int32_t kAnyCount = std::numeric_limits<int32_t>::max();
  constexpr double kAlmostZero = 1e-6;  // top_p 0 means: the likeliest token
  if (fields.model.empty())
    return fail(Code::kUnprocessable, "model: expected the name of a model");
  RequestedSampling& sampling = request.sampling;
  COHORT_TRY_VOID(take_number("temperature", fields.temperature, 0, 2, sampling.temperature));
  COHORT_TRY_VOID(take_number("top_p", fields.top_p, 0, 1, sampling.top_p));
  COHORT_TRY_VOID(take_number("min_p", fields.min_p, 0, 1, sampling.min_p));
  COHORT_TRY_VOID(take_number("typical_p", fields.typical_p, 0, 1, sampling.typical_p));
  for (auto* mass : {&sampling.top_p, &sampling.typical_p}) {
    if (*mass) *mass = std::max(**mass, static_cast<float>(kAlmostZero));
  }
  COHORT_TRY_VOID(take_number("repetition_penalty", fields.repetition_penalty, kAlmostZero,
                              kAnyNumber, sampling.repetition_penalty));
  COHORT_TRY_VOID(
      take_number("presence_penalty", fields.presence_penalty, -2, 2, sampling.presence_penalty));
  COHORT_TRY_VOID(take_number("frequency_penalty", fields.frequency_penalty, -2, 2,
                              sampling.frequency_penalty));
  COHORT_TRY_VOID(take_integer("top_k", fields.top_k, -1, kAnyCount, sampling.top_k));
  if (sampling.top_k) sampling.top_k = std::max(*sampling.top_k, 0);  // others write -1 for "all"
  COHORT_TRY_VOID(take_integer("n", fields.n, 1, kMaxChoices, request.choices));
  COHORT_TRY_VOID(take_integer("min_tokens", fields.min_tokens, 0, kAnyCount, sampling.min_tokens));
  COHORT_TRY_VOID(take_integer("max_tokens", fields.max_tokens, 1, kAnyCount, request.max_tokens));
  if (fields.seed) sampling.seed = static_cast<uint64_t>(*fields.seed);
  sampling.ignore_eos = fields.ignore_eos;
  COHORT_TRY_VOID(take_logit_bias(fields.logit_bias, sampling));
  COHORT_TRY_VOID(check_response_format(fields.response_format));
  return take_stops(fields.stop, request.stop);
}

}  // namespace cohort::api
