#include "text/regex_syntax.h"

#include <vector>

namespace cohort::text {
namespace {

constexpr int kMaxClassDepth = 16;

// Ranges without brackets, so that they also serve inside a class.
constexpr std::string_view kSpace =
    R"(\x{9}-\x{d}\x{20}\x{85}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000})";
constexpr std::string_view kNotSpace =
    R"(\x{0}-\x{8}\x{e}-\x{1f}\x{21}-\x{84}\x{86}-\x{9f}\x{a1}-\x{167f}\x{1681}-\x{1fff}\x{200b}-\x{2027})"
    R"(\x{202a}-\x{202e}\x{2030}-\x{205e}\x{2060}-\x{2fff}\x{3001}-\x{10ffff})";
constexpr std::string_view kWord = R"(\p{L}\p{M}\p{Nd}\p{Nl}\p{Pc})";
constexpr std::string_view kHex = "0-9A-Fa-f";

// The members of an escape like \s, or nothing when PCRE2 means the same by it.
std::string_view members_of(char escape) {
  switch (escape) {
    case 's': return kSpace;
    case 'S': return kNotSpace;
    case 'w': return kWord;
    case 'h': return kHex;
    default: return {};
  }
}

// The escape's negation has no list of members and becomes a class of its own.
std::string_view members_denied_by(char escape) {
  switch (escape) {
    case 'W': return kWord;
    case 'H': return kHex;
    default: return {};
  }
}

class Translator {
 public:
  explicit Translator(std::string_view pattern) : in_(pattern) {}

  Result<std::string> run() {
    std::string out;
    while (!at_end()) {
      if (in_[at_] == '\\') {
        out += escape();
      } else if (in_[at_] == '[') {
        COHORT_TRY(const std::string translated, char_class(0));
        out += translated;
      } else {
        out += in_[at_++];
      }
    }
    return out;
  }

 private:
  bool at_end() const { return at_ >= in_.size(); }
  bool at(std::string_view text) const { return in_.substr(at_).starts_with(text); }

  static std::string bracket(bool negated, std::string_view members) {
    return (negated ? "[^" : "[") + std::string(members) + "]";
  }

  // At a backslash, outside of classes.
  std::string escape() {
    const std::string text = take_escape();
    if (const auto members = members_of(text.back()); text.size() == 2 && !members.empty()) {
      return bracket(false, members);
    }
    if (const auto denied = members_denied_by(text.back()); text.size() == 2 && !denied.empty()) {
      return bracket(true, denied);
    }
    return text;
  }

  // The backslash and the byte after; the rest of \p{L} or \x{85} follows as plain text.
  std::string take_escape() {
    std::string text(in_.substr(at_, 2));
    at_ += text.size();
    return text;
  }

  // What stands between two && of a class: members, and classes nested in it.
  struct Operand {
    std::string members;
    std::vector<std::string> nested;

    std::string regex() const {
      if (nested.empty()) return bracket(false, members);
      std::string any = members.empty() ? "(?:" : "(?:" + bracket(false, members) + "|";
      for (size_t i = 0; i < nested.size(); ++i) any += (i == 0 ? "" : "|") + nested[i];
      return any + ")";
    }
  };

  void add_escape(Operand& operand) {
    const std::string text = take_escape();
    const char kind = text.size() == 2 ? text[1] : '\0';
    if (const auto members = members_of(kind); !members.empty()) {
      operand.members += members;
    } else if (const auto denied = members_denied_by(kind); !denied.empty()) {
      operand.nested.push_back(bracket(true, denied));
    } else {
      operand.members += text;
    }
  }

  // At the opening bracket; leaves the position after the closing one.
  Result<std::string> char_class(int depth) {
    if (depth == kMaxClassDepth) return fail(Code::kDataLoss, "character classes nested too deep");
    const size_t begin = at_++;
    const bool negated = at("^");
    if (negated) ++at_;
    std::vector<Operand> operands(1);
    if (at("]")) {  // first, it is a member
      operands[0].members += "\\]";
      ++at_;
    }
    while (!at("]")) {
      if (at_end()) {
        return fail(Code::kDataLoss, "'[' at byte {} of the pattern is never closed", begin);
      }
      if (at("&&")) {
        operands.emplace_back();
        at_ += 2;
        continue;
      }
      COHORT_TRY_VOID(member(operands.back(), depth));
    }
    ++at_;
    return combine(negated, operands);
  }

  Result<void> member(Operand& operand, int depth) {
    if (in_[at_] == '\\') {
      add_escape(operand);
    } else if (at("[:")) {
      const size_t end = in_.find(":]", at_);
      if (end == std::string_view::npos) return fail(Code::kDataLoss, "'[:' without ':]'");
      operand.members += in_.substr(at_, end + 2 - at_);
      at_ = end + 2;
    } else if (in_[at_] == '[') {
      COHORT_TRY(std::string nested, char_class(depth + 1));
      operand.nested.push_back(std::move(nested));
    } else {
      operand.members += in_[at_++];
    }
    return {};
  }

  static std::string combine(bool negated, const std::vector<Operand>& operands) {
    if (operands.size() == 1 && operands[0].nested.empty()) {
      return bracket(negated, operands[0].members);
    }
    std::string all;
    for (size_t i = 1; i < operands.size(); ++i) all += "(?=" + operands[i].regex() + ")";
    all += operands[0].regex();
    return negated ? "(?:(?!" + all + ")(?s:.))" : "(?:" + all + ")";
  }

  std::string_view in_;
  size_t at_ = 0;
};

}  // namespace

Result<std::string> to_pcre2_syntax(std::string_view pattern) { return Translator(pattern).run(); }

}  // namespace cohort::text
