#include "text/normalizer.h"

#include <memory>
#include <optional>

#include "base/json.h"
#include "text/charsmap.h"
#include "text/pattern.h"
#include "text/unicode.h"

namespace cohort::text {
namespace {

struct Fields {
  std::string type;
  std::string prepend;
  std::string content;
  bool strip_left = true;
  bool strip_right = true;
  Json pattern;
  std::string precompiled_charsmap;

  template <class Visitor>
  void fields(Visitor& visit) {
    visit("type", type);
    visit("prepend", prepend);
    visit("content", content);
    visit("strip_left", strip_left);
    visit("strip_right", strip_right);
    visit("pattern", pattern);
    visit("precompiled_charsmap", precompiled_charsmap);
  }
};

std::optional<NormalForm> normal_form(std::string_view type) {
  if (type == "NFC") return NormalForm::kNfc;
  if (type == "NFD") return NormalForm::kNfd;
  if (type == "NFKC") return NormalForm::kNfkc;
  if (type == "NFKD") return NormalForm::kNfkd;
  return std::nullopt;
}

MarkedText prepend(const MarkedText& text, std::string_view prefix) {
  Rewriter to(text);
  if (!text.text.empty()) to.replace(0, prefix);
  to.keep_rest();
  return std::move(to).finish();
}

MarkedText replace(const MarkedText& text, const Pattern& pattern, std::string_view content) {
  Rewriter to(text);
  PatternSearch search(pattern);
  while (const auto match = search.next(text.text, to.position())) {
    to.keep(match->begin - to.position());
    to.replace(match->size(), content);
  }
  to.keep_rest();
  return std::move(to).finish();
}

MarkedText strip(const MarkedText& text, bool left, bool right) {
  const std::string_view all = text.text;
  size_t begin = 0;
  size_t end = all.size();
  while (left && begin < end && is_whitespace(utf8_at(all, begin).code)) {
    begin += utf8_at(all, begin).size;
  }
  while (right && end > begin && is_whitespace(utf8_before(all, end).code)) {
    end -= utf8_before(all, end).size;
  }
  Rewriter to(text);
  to.replace(begin, "");
  to.keep(end - begin);
  to.replace(all.size() - end, "");
  return std::move(to).finish();
}

MarkedText lowercase(const MarkedText& text) {
  Rewriter to(text);
  std::string lower;
  while (to.position() < text.text.size()) {
    const Utf8Char c = utf8_at(text.text, to.position());
    lower.clear();
    append_lowercase(lower, c.code);
    to.replace(c.size, lower);
  }
  return std::move(to).finish();
}

MarkedText strip_accents(const MarkedText& text) {
  Rewriter to(text);
  while (to.position() < text.text.size()) {
    const Utf8Char c = utf8_at(text.text, to.position());
    if (is_mark(c.code)) {
      to.replace(c.size, "");
    } else {
      to.keep(c.size);
    }
  }
  return std::move(to).finish();
}

}  // namespace

Result<Normalizer::Step> Normalizer::make_step(const Json& config) {
  COHORT_TRY(const Fields f, from_json<Fields>(config, "normalizer"));
  if (const auto form = normal_form(f.type)) {
    return [form](const MarkedText& text) { return normalize_unicode(text, *form); };
  }
  if (f.type == "Prepend") {
    return [prefix = f.prepend](const MarkedText& text) { return prepend(text, prefix); };
  }
  if (f.type == "Replace") {
    COHORT_TRY(Pattern parsed, Pattern::parse(f.pattern));
    // Shared because std::function copies; never changed.
    const auto pattern = std::make_shared<const Pattern>(std::move(parsed));
    return [pattern, content = f.content](const MarkedText& text) {
      return replace(text, *pattern, content);
    };
  }
  if (f.type == "Strip") {
    return [left = f.strip_left, right = f.strip_right](const MarkedText& text) {
      return strip(text, left, right);
    };
  }
  if (f.type == "Lowercase") return Step(lowercase);
  if (f.type == "StripAccents") return Step(strip_accents);
  if (f.type == "Precompiled") {
    COHORT_TRY(CharsMap parsed, CharsMap::parse(f.precompiled_charsmap));
    const auto map = std::make_shared<const CharsMap>(std::move(parsed));  // as above
    return [map](const MarkedText& text) { return map->run(text); };
  }
  return fail(Code::kUnsupported, "normalizer type '{}' is not known", f.type);
}

Result<void> Normalizer::add(const Json& config) {
  if (config.is_null()) return {};
  if (config.is_object() && config.value("type", Json()) == "Sequence") {
    const auto parts = config.find("normalizers");
    if (parts == config.end() || !parts->is_array()) {
      return fail(Code::kDataLoss, "normalizer: a Sequence without a list of normalizers");
    }
    for (const Json& part : *parts) COHORT_TRY_VOID(add(part));
    return {};
  }
  COHORT_TRY(Step step, make_step(config));
  steps_.push_back(std::move(step));
  return {};
}

Result<Normalizer> Normalizer::parse(const Json& config) {
  Normalizer normalizer;
  COHORT_TRY_VOID(normalizer.add(config));
  return normalizer;
}

MarkedText Normalizer::run(MarkedText text) const {
  for (const Step& step : steps_) text = step(std::move(text));
  return text;
}

}  // namespace cohort::text
