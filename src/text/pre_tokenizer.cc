#include "text/pre_tokenizer.h"

#include <memory>
#include <optional>

#include "base/json.h"
#include "text/byte_alphabet.h"
#include "text/pattern.h"
#include "text/splitter.h"
#include "text/unicode.h"

namespace cohort::text {
namespace {

constexpr std::string_view kGpt2Pattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view kWhitespacePattern = R"(\w+|[^\w\s]+)";

struct Fields {
  std::string type;
  Json pattern;
  std::string behavior = "Isolated";
  bool invert = false;
  bool use_regex = true;
  bool individual_digits = false;
  bool split = true;
  std::optional<bool> add_prefix_space;
  std::string replacement = "\xE2\x96\x81";
  std::optional<std::string> prepend_scheme;
  std::string delimiter;

  template <class Visitor>
  void fields(Visitor& visit) {
    visit("type", type);
    visit("pattern", pattern);
    visit("behavior", behavior);
    visit("invert", invert);
    visit("use_regex", use_regex);
    visit("individual_digits", individual_digits);
    visit("split", split);
    visit("add_prefix_space", add_prefix_space);
    visit("replacement", replacement);
    visit("prepend_scheme", prepend_scheme);
    visit("delimiter", delimiter);
  }
};

// Finds single characters that have a property.
template <class Predicate>
auto characters(Predicate has_property) {
  return [has_property](std::string_view subject, size_t from) -> std::optional<Range> {
    while (from < subject.size()) {
      const Utf8Char c = utf8_at(subject, from);
      if (has_property(c.code)) return Range{from, from + c.size};
      from += c.size;
    }
    return std::nullopt;
  };
}

void split_by(Words& words, SplitOptions options, const Pattern& pattern) {
  PatternSearch search(pattern);
  split_words(words, options,
              [&](std::string_view subject, size_t from) { return search.next(subject, from); });
}

// Writes every word anew: `rewrite(word, is_first, out)` appends what it becomes.
template <class Rewrite>
void rewrite_words(Words& words, Rewrite&& rewrite) {
  std::string text;
  text.reserve(words.text.size() + words.text.size() / 4);
  for (Range& word : words.ranges) {
    const bool is_first = words.at_start && word.begin == 0;
    const size_t begin = text.size();
    rewrite(std::string_view(words.text).substr(word.begin, word.size()), is_first, text);
    word = {begin, text.size()};
  }
  words.text = std::move(text);
}

void add_leading_spaces(Words& words) {
  rewrite_words(words, [](std::string_view word, bool, std::string& out) {
    if (!word.starts_with(' ')) out += ' ';
    out += word;
  });
}

void write_byte_characters(Words& words) {
  rewrite_words(words, [](std::string_view word, bool, std::string& out) {
    append_byte_characters(out, word);
  });
}

struct Metaspace {
  enum class Prepend { kAlways, kFirst, kNever };
  std::string mark;
  Prepend prepend = Prepend::kAlways;
  bool split = true;

  void write_marks(Words& words) const {
    rewrite_words(words, [this](std::string_view word, bool is_first, std::string& out) {
      const bool wanted = prepend == Prepend::kAlways || (prepend == Prepend::kFirst && is_first);
      if (wanted && !word.starts_with(' ') && !word.starts_with(mark)) out += mark;
      for (const char c : word) {
        if (c == ' ') {
          out += mark;
        } else {
          out += c;
        }
      }
    });
  }

  void operator()(Words& words) const {
    write_marks(words);
    if (!split) return;
    split_words(words, {SplitBehavior::kMergedWithNext},
                [this](std::string_view subject, size_t from) -> std::optional<Range> {
                  const size_t found = subject.find(mark, from);
                  if (found == std::string_view::npos) return std::nullopt;
                  return Range{found, found + mark.size()};
                });
  }
};

Result<Metaspace> parse_metaspace(const Fields& f) {
  Metaspace step{.mark = f.replacement, .split = f.split};
  if (step.mark.empty()) return fail(Code::kDataLoss, "Metaspace: an empty replacement");
  const std::string scheme =
      f.prepend_scheme.value_or(f.add_prefix_space.value_or(true) ? "always" : "never");
  if (scheme == "first") {
    step.prepend = Metaspace::Prepend::kFirst;
  } else if (scheme == "never") {
    step.prepend = Metaspace::Prepend::kNever;
  } else if (scheme != "always") {
    return fail(Code::kUnsupported, "Metaspace: prepend_scheme '{}' is not known", scheme);
  }
  return step;
}

}  // namespace

void PreTokenizer::add_byte_level(bool add_prefix_space, bool use_regex) {
  if (add_prefix_space) steps_.push_back(add_leading_spaces);
  if (use_regex) {
    Pattern gpt2{.regex = std::move(*Regex::compile(kGpt2Pattern))};
    // Shared because std::function copies; never changed.
    steps_.push_back([pattern = std::make_shared<const Pattern>(std::move(gpt2))](Words& words) {
      split_by(words, {}, *pattern);
    });
  }
  steps_.push_back(write_byte_characters);
}

Result<void> PreTokenizer::add_split(const Json& config) {
  COHORT_TRY(const Fields f, from_json<Fields>(config, "pre_tokenizer"));
  COHORT_TRY(const SplitBehavior behavior, parse_split_behavior(f.behavior));
  COHORT_TRY(Pattern parsed, Pattern::parse(f.pattern));
  const SplitOptions options{behavior, f.invert};
  // Shared as above.
  steps_.push_back([options, pattern = std::make_shared<const Pattern>(std::move(parsed))](
                       Words& words) { split_by(words, options, *pattern); });
  return {};
}

Result<void> PreTokenizer::add(const Json& config) {
  if (config.is_null()) return {};
  COHORT_TRY(const Fields f, from_json<Fields>(config, "pre_tokenizer"));
  ends_with_byte_characters_ = f.type == "ByteLevel";
  if (f.type == "Sequence") {
    const auto parts = config.find("pretokenizers");
    if (parts == config.end() || !parts->is_array()) {
      return fail(Code::kDataLoss, "pre_tokenizer: a Sequence without a list of pretokenizers");
    }
    for (const Json& part : *parts) COHORT_TRY_VOID(add(part));
  } else if (f.type == "ByteLevel") {
    add_byte_level(f.add_prefix_space.value_or(true), f.use_regex);
  } else if (f.type == "Split") {
    COHORT_TRY_VOID(add_split(config));
  } else if (f.type == "Metaspace") {
    COHORT_TRY(Metaspace step, parse_metaspace(f));
    steps_.push_back(std::move(step));
  } else if (f.type == "Digits") {
    const auto behavior =
        f.individual_digits ? SplitBehavior::kIsolated : SplitBehavior::kContiguous;
    steps_.push_back(
        [behavior](Words& words) { split_words(words, {behavior}, characters(is_numeric)); });
  } else if (f.type == "Punctuation") {
    COHORT_TRY(const SplitBehavior behavior, parse_split_behavior(f.behavior));
    steps_.push_back(
        [behavior](Words& words) { split_words(words, {behavior}, characters(is_punctuation)); });
  } else if (f.type == "WhitespaceSplit" || f.type == "BertPreTokenizer") {
    steps_.push_back([](Words& words) {
      split_words(words, {SplitBehavior::kRemoved}, characters(is_whitespace));
    });
    if (f.type == "WhitespaceSplit") return {};
    steps_.push_back([](Words& words) { split_words(words, {}, characters(is_punctuation)); });
  } else if (f.type == "Whitespace") {
    const Json split = {
        {"pattern", {{"Regex", kWhitespacePattern}}}, {"behavior", "Removed"}, {"invert", true}};
    COHORT_TRY_VOID(add_split(split));
  } else {
    return fail(Code::kUnsupported, "pre_tokenizer type '{}' is not known", f.type);
  }
  return {};
}

Result<PreTokenizer> PreTokenizer::parse(const Json& config, bool model_takes_bytes) {
  PreTokenizer result;
  COHORT_TRY_VOID(result.add(config));
  if (model_takes_bytes && result.ends_with_byte_characters_) {
    result.steps_.pop_back();
    result.yields_bytes_ = true;
  }
  return result;
}

void PreTokenizer::run(Words& words) const {
  words.ranges.clear();
  if (!words.text.empty()) words.ranges.push_back({0, words.text.size()});
  for (const Step& step : steps_) step(words);
}

}  // namespace cohort::text
