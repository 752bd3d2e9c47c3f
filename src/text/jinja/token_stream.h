// The parser's view of the tokens: where it is, and what it expects next.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/token.h"

namespace cohort::text::jinja {

class TokenStream {
 public:
  explicit TokenStream(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  const Token& peek(size_t ahead = 0) const {
    return tokens_[std::min(next_ + ahead, tokens_.size() - 1)];
  }
  Token take() {
    Token token = peek();
    if (next_ + 1 < tokens_.size()) ++next_;
    return token;
  }
  bool at(Token::Kind kind) const { return peek().kind == kind; }
  bool at_operator(std::string_view text) const {
    return at(Token::kOperator) && peek().text == text;
  }
  bool at_name(std::string_view text) const { return at(Token::kName) && peek().text == text; }
  bool skip_operator(std::string_view text) { return at_operator(text) && (take(), true); }
  bool skip_name(std::string_view text) { return at_name(text) && (take(), true); }

  Result<Token> expect(Token::Kind kind, std::string_view what) {
    if (!at(kind)) return unexpected(what);
    return take();
  }
  Result<void> expect_operator(std::string_view text) {
    if (!skip_operator(text)) return unexpected(fmt::format("'{}'", text));
    return {};
  }
  Result<void> expect_name(std::string_view text) {
    if (!skip_name(text)) return unexpected(fmt::format("'{}'", text));
    return {};
  }

  tl::unexpected<Error> unexpected(std::string_view wanted) const {
    return fail_at(peek().at, fmt::format("expected {}, got {}", wanted, describe(peek())));
  }

  static std::string describe(const Token& token) {
    switch (token.kind) {
      case Token::kData: return "text";
      case Token::kOutputBegin: return "'{{'";
      case Token::kOutputEnd: return "'}}'";
      case Token::kBlockBegin: return "'{%'";
      case Token::kBlockEnd: return "'%}'";
      case Token::kString: return "a string";
      case Token::kEnd: return "the end of the template";
      default: return "'" + token.text + "'";
    }
  }

 private:
  std::vector<Token> tokens_;
  size_t next_ = 0;
};

}  // namespace cohort::text::jinja
