#include "text/post_processor.h"

#include "base/json.h"
#include "text/vocabulary.h"

namespace cohort::text {
namespace {

Result<TokenId> parse_id(const Json& value) {
  if (!value.is_number_integer())
    return fail(Code::kDataLoss, "post_processor: an id is no number");
  const auto id = value.get<int64_t>();
  if (id < 0 || id > kMaxTokenId) return fail(Code::kDataLoss, "post_processor: id {}", id);
  return static_cast<TokenId>(id);
}

// {"SpecialToken": {"id": "<s>"}} by way of special_tokens: {"<s>": {"ids": [1]}}.
Result<std::vector<TokenId>> special_ids(const Json& template_item, const Json& config) {
  const Json name = template_item["SpecialToken"].value("id", Json());
  const Json tokens = config.value("special_tokens", Json::object());
  if (!name.is_string() || !tokens.contains(name.get<std::string>())) {
    return fail(Code::kDataLoss, "post_processor: special token {} has no ids", name.dump());
  }
  std::vector<TokenId> ids;
  for (const Json& value : tokens[name.get<std::string>()].value("ids", Json::array())) {
    COHORT_TRY(const TokenId id, parse_id(value));
    ids.push_back(id);
  }
  return ids;
}

Result<PostProcessor> parse_template(const Json& config) {
  PostProcessor result;
  bool after_text = false;
  for (const Json& item : config.value("single", Json::array())) {
    if (item.contains("Sequence")) {
      if (after_text) return fail(Code::kUnsupported, "post_processor: the text comes twice");
      after_text = true;
    } else if (item.contains("SpecialToken") && item["SpecialToken"].is_object()) {
      COHORT_TRY(const auto ids, special_ids(item, config));
      auto& side = after_text ? result.after : result.before;
      side.insert(side.end(), ids.begin(), ids.end());
    } else {
      return fail(Code::kDataLoss, "post_processor: unknown template item {}", item.dump());
    }
  }
  if (!after_text) return fail(Code::kDataLoss, "post_processor: the template lacks the text");
  return result;
}

// "cls": ["<s>", 0]
Result<TokenId> named_id(const Json& config, const char* name) {
  const Json pair = config.value(name, Json());
  if (!pair.is_array() || pair.size() != 2) {
    return fail(Code::kDataLoss, "post_processor: '{}' is not [piece, id]", name);
  }
  return parse_id(pair[1]);
}

Result<PostProcessor> parse_sequence(const Json& config) {
  PostProcessor result;
  const Json parts = config.value("processors", Json::array());
  for (const Json& part : parts) {
    COHORT_TRY(PostProcessor outer, PostProcessor::parse(part));
    result.before.insert(result.before.begin(), outer.before.begin(), outer.before.end());
    result.after.insert(result.after.end(), outer.after.begin(), outer.after.end());
  }
  return result;
}

}  // namespace

Result<PostProcessor> PostProcessor::parse(const Json& config) {
  if (config.is_null()) return PostProcessor{};
  if (!config.is_object()) return fail(Code::kDataLoss, "post_processor: expected an object");
  const Json type = config.value("type", Json());
  if (type == "ByteLevel") return PostProcessor{};
  if (type == "TemplateProcessing") return parse_template(config);
  if (type == "Sequence") return parse_sequence(config);
  if (type == "RobertaProcessing" || type == "BertProcessing") {
    COHORT_TRY(const TokenId cls, named_id(config, "cls"));
    COHORT_TRY(const TokenId sep, named_id(config, "sep"));
    return PostProcessor{{cls}, {sep}};
  }
  return fail(Code::kUnsupported, "post_processor type {} is not known", type.dump());
}

}  // namespace cohort::text
