#include "text/jinja/parser.h"

#include "text/jinja/expression_parser.h"

namespace cohort::text::jinja {
namespace {

using Words = std::initializer_list<std::string_view>;

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens)
      : template_(std::make_unique<Template>()),
        tokens_(std::move(tokens)),
        expressions_(tokens_, *template_) {}

  Result<std::unique_ptr<const Template>> run() {
    COHORT_TRY(template_->body, parse_block({}, {}));
    return std::unique_ptr<const Template>(std::move(template_));
  }

 private:
  // Up to a tag whose word is one of `ends` (its word is still to be taken) or, with none, the template's end. `opener`
  // is for the message when there is no such tag.
  Result<Block> parse_block(Words ends, const Token& opener) {
    const ExpressionParser::Depth depth(expressions_);
    COHORT_TRY_VOID(expressions_.check_depth());
    Block block;
    while (!tokens_.at(Token::kEnd)) {
      const Token token = tokens_.take();
      if (token.kind == Token::kData) {
        block.push_back({token.at, Data{Text(token.text)}});
        continue;
      }
      if (token.kind == Token::kOutputBegin) {
        COHORT_TRY(ExprPtr value, expressions_.parse_tuple());
        COHORT_TRY_VOID(tokens_.expect(Token::kOutputEnd, "'}}'"));
        block.push_back({token.at, Output{std::move(value)}});
        continue;
      }
      for (const std::string_view end : ends) {
        if (tokens_.at_name(end)) return block;
      }
      COHORT_TRY(Statement statement, parse_statement());
      block.push_back(std::move(statement));
    }
    if (ends.size() == 0) return block;
    return fail_at(opener.at, fmt::format("this '{}' has no '{}'", opener.text, *(ends.end() - 1)));
  }

  Result<void> end_tag() {
    COHORT_TRY_VOID(tokens_.expect(Token::kBlockEnd, "'%}'"));
    return {};
  }

  // "%} body {% end %}", the start of the tag being read.
  Result<Block> parse_body(std::string_view end, const Token& opener) {
    COHORT_TRY_VOID(end_tag());
    COHORT_TRY(Block body, parse_block({end}, opener));
    tokens_.take();
    COHORT_TRY_VOID(end_tag());
    return body;
  }

  Result<Statement> parse_statement() {
    COHORT_TRY(const Token word, tokens_.expect(Token::kName, "a tag's name"));
    using Member = Result<Statement> (Parser::*)(const Token&);
    static constexpr std::pair<std::string_view, Member> kTags[] = {
        {"if", &Parser::parse_if},       {"for", &Parser::parse_for},
        {"set", &Parser::parse_set},     {"macro", &Parser::parse_macro},
        {"call", &Parser::parse_call},   {"filter", &Parser::parse_filter},
        {"with", &Parser::parse_with},   {"generation", &Parser::parse_generation},
        {"break", &Parser::parse_break}, {"continue", &Parser::parse_continue}};
    for (const auto& [name, parse_tag] : kTags) {
      if (name == word.text) return (this->*parse_tag)(word);
    }
    return fail_at(word.at, fmt::format("unknown tag '{}'", word.text));
  }

  Result<Statement> parse_if(const Token& word) {
    If node;
    while (true) {
      COHORT_TRY(ExprPtr condition, expressions_.parse_tuple());
      COHORT_TRY_VOID(end_tag());
      COHORT_TRY(Block body, parse_block({"elif", "else", "endif"}, word));
      node.branches.emplace_back(std::move(condition), std::move(body));
      if (!tokens_.skip_name("elif")) break;
    }
    if (tokens_.skip_name("else")) {
      COHORT_TRY(node.otherwise, parse_body("endif", word));
    } else {
      tokens_.take();
      COHORT_TRY_VOID(end_tag());
    }
    return Statement{word.at, std::move(node)};
  }

  Result<Statement> parse_for(const Token& word) {
    For node;
    COHORT_TRY(node.target, expressions_.parse_target(false));
    COHORT_TRY_VOID(tokens_.expect_name("in"));
    COHORT_TRY(node.iterable, expressions_.parse_tuple(false));
    if (tokens_.skip_name("if")) {
      COHORT_TRY(node.condition, expressions_.parse_expression());
    }
    if (tokens_.at_name("recursive"))
      return fail_at(tokens_.peek().at, "recursive loops are not supported");
    COHORT_TRY_VOID(end_tag());
    ++loop_depth_;
    COHORT_TRY(node.body, parse_block({"else", "endfor"}, word));
    --loop_depth_;
    if (tokens_.skip_name("else")) {
      COHORT_TRY(node.otherwise, parse_body("endfor", word));
    } else {
      tokens_.take();
      COHORT_TRY_VOID(end_tag());
    }
    return Statement{word.at, std::move(node)};
  }

  Result<Statement> parse_set(const Token& word) {
    COHORT_TRY(Target target, expressions_.parse_target(true));
    if (tokens_.skip_operator("=")) {
      COHORT_TRY(ExprPtr value, expressions_.parse_tuple());
      COHORT_TRY_VOID(end_tag());
      return Statement{word.at, Set{std::move(target), std::move(value)}};
    }
    SetBlock node{std::move(target), {}, {}};
    if (tokens_.skip_operator("|")) {
      COHORT_TRY(node.filters, expressions_.parse_filters());
    }
    COHORT_TRY(node.body, parse_body("endset", word));
    return Statement{word.at, std::move(node)};
  }

  // The body of a macro or call block: loops outside do not count for break.
  Result<void> parse_function(Function& function, std::string_view end, const Token& word) {
    Function* const outer = std::exchange(expressions_.function, &function);
    const int outer_loops = std::exchange(loop_depth_, 0);
    auto body = parse_body(end, word);
    loop_depth_ = outer_loops;
    expressions_.function = outer;
    COHORT_TRY(function.body, std::move(body));
    return {};
  }

  Result<Statement> parse_macro(const Token& word) {
    COHORT_TRY(const Token name, tokens_.expect(Token::kName, "the macro's name"));
    Macro node{expressions_.intern(name.text), {}};
    node.function.name = name.text;
    COHORT_TRY(node.function.parameters, expressions_.parse_parameters());
    COHORT_TRY_VOID(parse_function(node.function, "endmacro", word));
    return Statement{word.at, std::move(node)};
  }

  Result<Statement> parse_call(const Token& word) {
    CallBlock node;
    node.caller.name = "caller";
    if (tokens_.at_operator("(")) {
      COHORT_TRY(node.caller.parameters, expressions_.parse_parameters());
    }
    COHORT_TRY(node.call, expressions_.parse_expression());
    if (!std::holds_alternative<Call>(node.call->node))
      return fail_at(node.call->at, "expected a call");
    COHORT_TRY_VOID(parse_function(node.caller, "endcall", word));
    return Statement{word.at, std::move(node)};
  }

  Result<Statement> parse_filter(const Token& word) {
    FilterBlock node;
    COHORT_TRY(node.filters, expressions_.parse_filters());
    COHORT_TRY(node.body, parse_body("endfilter", word));
    return Statement{word.at, std::move(node)};
  }

  Result<Statement> parse_with(const Token& word) {
    With node;
    while (!tokens_.at(Token::kBlockEnd)) {
      if (!node.assignments.empty()) {
        COHORT_TRY_VOID(tokens_.expect_operator(","));
      }
      COHORT_TRY(const Token name, tokens_.expect(Token::kName, "a name to assign to"));
      Target target;
      target.at = name.at;
      target.name = expressions_.intern(name.text);
      COHORT_TRY_VOID(tokens_.expect_operator("="));
      COHORT_TRY(ExprPtr value, expressions_.parse_expression());
      node.assignments.emplace_back(std::move(target), std::move(value));
    }
    COHORT_TRY(node.body, parse_body("endwith", word));
    return Statement{word.at, std::move(node)};
  }

  // transformers marks what the assistant said with these tags; the text inside is rendered as it is.
  Result<Statement> parse_generation(const Token& word) {
    With node;
    COHORT_TRY(node.body, parse_body("endgeneration", word));
    return Statement{word.at, std::move(node)};
  }

  Result<Statement> parse_break(const Token& word) { return loop_control(word, Break{}); }
  Result<Statement> parse_continue(const Token& word) { return loop_control(word, Continue{}); }

  template <class Node>
  Result<Statement> loop_control(const Token& word, Node node) {
    if (loop_depth_ == 0) return fail_at(word.at, fmt::format("'{}' outside a loop", word.text));
    COHORT_TRY_VOID(end_tag());
    return Statement{word.at, node};
  }

  std::unique_ptr<Template> template_;
  TokenStream tokens_;
  ExpressionParser expressions_;
  int loop_depth_ = 0;
};

}  // namespace

Result<std::unique_ptr<const Template>> parse(std::string_view source) {
  COHORT_TRY(std::vector<Token> tokens, tokenize(source));
  return Parser(std::move(tokens)).run();
}

}  // namespace cohort::text::jinja
