#include "text/jinja/expression_parser.h"

#include <charconv>
#include <cstdlib>

#include "text/jinja/builtins.h"
#include "text/jinja/parser.h"

namespace cohort::text::jinja {

Result<void> ExpressionParser::check_depth() const {
  if (depth_ <= kMaxParseDepth) return {};
  return fail_at(tokens_.peek().at, fmt::format("nested more than {} deep", kMaxParseDepth));
}

Result<ExprPtr> ExpressionParser::parse_expression(bool with_condition) {
  const Depth depth(*this);
  COHORT_TRY_VOID(check_depth());
  COHORT_TRY(ExprPtr value, parse_or());
  while (with_condition && tokens_.at_name("if")) {
    const Position at = tokens_.take().at;
    Conditional node;
    node.then = std::move(value);
    COHORT_TRY(node.condition, parse_or());
    if (tokens_.skip_name("else")) {
      COHORT_TRY(node.otherwise, parse_expression());
    }
    value = make(at, std::move(node));
  }
  return value;
}

bool ExpressionParser::at_end_of_tuple() const {
  return tokens_.at(Token::kOutputEnd) || tokens_.at(Token::kBlockEnd) ||
         tokens_.at_operator(")") || tokens_.at_operator("=") || tokens_.at_name("recursive");
}

Result<ExprPtr> ExpressionParser::parse_tuple(bool with_condition) {
  const Position at = tokens_.peek().at;
  COHORT_TRY(ExprPtr first, parse_expression(with_condition));
  if (!tokens_.at_operator(",")) return first;
  ListDisplay tuple{{}, true};
  tuple.items.push_back(std::move(first));
  while (tokens_.skip_operator(",")) {
    if (at_end_of_tuple()) break;
    COHORT_TRY(ExprPtr item, parse_expression(with_condition));
    tuple.items.push_back(std::move(item));
  }
  return make(at, std::move(tuple));
}

Result<ExprPtr> ExpressionParser::parse_or() {
  COHORT_TRY(ExprPtr left, parse_and());
  while (tokens_.at_name("or")) {
    const Position at = tokens_.take().at;
    COHORT_TRY(ExprPtr right, parse_and());
    left = make(at, Logical{false, std::move(left), std::move(right)});
  }
  return left;
}

Result<ExprPtr> ExpressionParser::parse_and() {
  COHORT_TRY(ExprPtr left, parse_not());
  while (tokens_.at_name("and")) {
    const Position at = tokens_.take().at;
    COHORT_TRY(ExprPtr right, parse_not());
    left = make(at, Logical{true, std::move(left), std::move(right)});
  }
  return left;
}

Result<ExprPtr> ExpressionParser::parse_not() {
  if (!tokens_.at_name("not")) return parse_comparison();
  const Depth depth(*this);
  COHORT_TRY_VOID(check_depth());
  const Position at = tokens_.take().at;
  COHORT_TRY(ExprPtr operand, parse_not());
  return make(at, Unary{Operator::kNot, std::move(operand)});
}

// {false, any} when no relation follows.
Result<std::pair<bool, Relation>> ExpressionParser::parse_relation() {
  static constexpr std::pair<std::string_view, Relation> kRelations[] = {
      {"==", Relation::kEqual},     {"!=", Relation::kNotEqual}, {"<", Relation::kLess},
      {"<=", Relation::kLessEqual}, {">", Relation::kGreater},   {">=", Relation::kGreaterEqual}};
  for (const auto& [text, relation] : kRelations) {
    if (tokens_.skip_operator(text)) return std::pair(true, relation);
  }
  if (tokens_.skip_name("in")) return std::pair(true, Relation::kIn);
  const Token& after = tokens_.peek(1);
  if (tokens_.at_name("not") && after.kind == Token::kName && after.text == "in") {
    tokens_.take();
    tokens_.take();
    return std::pair(true, Relation::kNotIn);
  }
  return std::pair(false, Relation::kEqual);
}

Result<ExprPtr> ExpressionParser::parse_comparison() {
  const Position at = tokens_.peek().at;
  COHORT_TRY(ExprPtr first, parse_sum());
  Comparison comparison;
  while (true) {
    COHORT_TRY(const auto relation, parse_relation());
    if (!relation.first) break;
    COHORT_TRY(ExprPtr operand, parse_sum());
    comparison.rest.emplace_back(relation.second, std::move(operand));
  }
  if (comparison.rest.empty()) return first;
  comparison.first = std::move(first);
  return make(at, std::move(comparison));
}

Result<ExprPtr> ExpressionParser::parse_sum() {
  COHORT_TRY(ExprPtr left, parse_concat());
  while (tokens_.at_operator("+") || tokens_.at_operator("-")) {
    const Token token = tokens_.take();
    COHORT_TRY(ExprPtr right, parse_concat());
    const Operator op = token.text == "+" ? Operator::kAdd : Operator::kSubtract;
    left = make(token.at, Binary{op, std::move(left), std::move(right)});
  }
  return left;
}

Result<ExprPtr> ExpressionParser::parse_concat() {
  const Position at = tokens_.peek().at;
  COHORT_TRY(ExprPtr first, parse_product());
  if (!tokens_.at_operator("~")) return first;
  Concat concat;
  concat.parts.push_back(std::move(first));
  while (tokens_.skip_operator("~")) {
    COHORT_TRY(ExprPtr part, parse_product());
    concat.parts.push_back(std::move(part));
  }
  return make(at, std::move(concat));
}

Result<ExprPtr> ExpressionParser::parse_product() {
  static constexpr std::pair<std::string_view, Operator> kOperators[] = {
      {"*", Operator::kMultiply},
      {"/", Operator::kDivide},
      {"//", Operator::kFloorDivide},
      {"%", Operator::kModulo}};
  COHORT_TRY(ExprPtr left, parse_power());
  while (true) {
    const auto* found =
        std::find_if(std::begin(kOperators), std::end(kOperators),
                     [&](const auto& row) { return tokens_.at_operator(row.first); });
    if (found == std::end(kOperators)) return left;
    const Position at = tokens_.take().at;
    COHORT_TRY(ExprPtr right, parse_power());
    left = make(at, Binary{found->second, std::move(left), std::move(right)});
  }
}

Result<ExprPtr> ExpressionParser::parse_power() {
  COHORT_TRY(ExprPtr left, parse_unary(true));
  while (tokens_.at_operator("**")) {
    const Position at = tokens_.take().at;
    COHORT_TRY(ExprPtr right, parse_unary(true));
    left = make(at, Binary{Operator::kPower, std::move(left), std::move(right)});
  }
  return left;
}

Result<ExprPtr> ExpressionParser::parse_unary(bool with_filters) {
  ExprPtr value;
  if (tokens_.at_operator("-") || tokens_.at_operator("+")) {
    const Depth depth(*this);
    COHORT_TRY_VOID(check_depth());
    const Token token = tokens_.take();
    COHORT_TRY(ExprPtr operand, parse_unary(false));
    const Operator op = token.text == "-" ? Operator::kNegate : Operator::kPlus;
    value = make(token.at, Unary{op, std::move(operand)});
  } else {
    COHORT_TRY(value, parse_primary());
  }
  COHORT_TRY(value, parse_postfix(std::move(value)));
  if (!with_filters) return value;
  return parse_filters_and_tests(std::move(value));
}

Result<ExprPtr> ExpressionParser::parse_primary() {
  const Position at = tokens_.peek().at;
  if (tokens_.at(Token::kName)) return parse_name();
  if (tokens_.at(Token::kInteger) || tokens_.at(Token::kFloat)) return parse_number();
  if (tokens_.at(Token::kString)) {
    std::string text;
    while (tokens_.at(Token::kString)) text += tokens_.take().text;
    return make(at, Literal{Value(Text(std::move(text)))});
  }
  if (tokens_.at_operator("(")) return parse_parenthesis();
  if (tokens_.at_operator("[")) return parse_list();
  if (tokens_.at_operator("{")) return parse_dict();
  return tokens_.unexpected("an expression");
}

Result<ExprPtr> ExpressionParser::parse_name() {
  const Token token = tokens_.take();
  const std::string& name = token.text;
  if (name == "true" || name == "True") return make(token.at, Literal{Value(true)});
  if (name == "false" || name == "False") return make(token.at, Literal{Value(false)});
  if (name == "none" || name == "None") return make(token.at, Literal{Value(None{})});
  if (function) {
    function->uses_varargs |= name == "varargs";
    function->uses_kwargs |= name == "kwargs";
    function->uses_caller |= name == "caller";
  }
  return make(token.at, Name{intern(name)});
}

Result<ExprPtr> ExpressionParser::parse_number() {
  const Token token = tokens_.take();
  if (token.kind == Token::kFloat)
    return make(token.at, Literal{Value(std::strtod(token.text.c_str(), nullptr))});
  int base = 10;
  std::string_view digits = token.text;
  if (digits.size() > 2 && digits[0] == '0') {
    const char mark = static_cast<char>(digits[1] | 32);
    base = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 10;
    if (base != 10) digits.remove_prefix(2);
  }
  int64_t value = 0;
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
  if (error != std::errc() || end != digits.data() + digits.size()) {
    return fail_at(token.at, fmt::format("'{}' is not an integer of 64 bits", token.text));
  }
  return make(token.at, Literal{Value(value)});
}

Result<ExprPtr> ExpressionParser::parse_parenthesis() {
  const Position at = tokens_.take().at;
  if (tokens_.skip_operator(")")) return make(at, ListDisplay{{}, true});
  COHORT_TRY(ExprPtr value, parse_tuple());
  COHORT_TRY_VOID(tokens_.expect_operator(")"));
  return value;
}

Result<ExprPtr> ExpressionParser::parse_list() {
  const Position at = tokens_.take().at;
  ListDisplay list{{}, false};
  while (!tokens_.at_operator("]")) {
    COHORT_TRY(ExprPtr item, parse_expression());
    list.items.push_back(std::move(item));
    if (!tokens_.skip_operator(",")) break;
  }
  COHORT_TRY_VOID(tokens_.expect_operator("]"));
  return make(at, std::move(list));
}

Result<ExprPtr> ExpressionParser::parse_dict() {
  const Position at = tokens_.take().at;
  DictDisplay dict;
  while (!tokens_.at_operator("}")) {
    COHORT_TRY(ExprPtr key, parse_expression());
    COHORT_TRY_VOID(tokens_.expect_operator(":"));
    COHORT_TRY(ExprPtr value, parse_expression());
    dict.entries.emplace_back(std::move(key), std::move(value));
    if (!tokens_.skip_operator(",")) break;
  }
  COHORT_TRY_VOID(tokens_.expect_operator("}"));
  return make(at, std::move(dict));
}

Result<ExprPtr> ExpressionParser::parse_postfix(ExprPtr object) {
  while (true) {
    if (tokens_.at_operator(".")) {
      COHORT_TRY(object, parse_attribute(std::move(object)));
    } else if (tokens_.at_operator("[")) {
      COHORT_TRY(object, parse_subscript(std::move(object)));
    } else if (tokens_.at_operator("(")) {
      const Position at = tokens_.peek().at;
      COHORT_TRY(CallArguments arguments, parse_arguments());
      object = make(at, Call{std::move(object), std::move(arguments)});
    } else {
      return object;
    }
  }
}

Result<ExprPtr> ExpressionParser::parse_attribute(ExprPtr object) {
  const Position at = tokens_.take().at;
  if (tokens_.at(Token::kName))
    return make(at, Attribute{std::move(object), intern(tokens_.take().text)});
  if (!tokens_.at(Token::kInteger)) return tokens_.unexpected("a name or a number after '.'");
  COHORT_TRY(ExprPtr index, parse_number());
  return make(at, Subscript{std::move(object), std::move(index)});
}

Result<ExprPtr> ExpressionParser::parse_subscript(ExprPtr object) {
  const Position at = tokens_.take().at;
  ExprPtr parts[3];
  int count = 0;
  for (; count < 3; ++count) {
    if (!tokens_.at_operator(":") && !tokens_.at_operator("]")) {
      COHORT_TRY(parts[count], parse_tuple());
    }
    if (!tokens_.skip_operator(":")) break;
  }
  if (count == 0 && !parts[0]) return tokens_.unexpected("an index");
  COHORT_TRY_VOID(tokens_.expect_operator("]"));
  if (count == 0) return make(at, Subscript{std::move(object), std::move(parts[0])});
  return make(
      at, Slice{std::move(object), std::move(parts[0]), std::move(parts[1]), std::move(parts[2])});
}

Result<CallArguments> ExpressionParser::parse_arguments() {
  COHORT_TRY_VOID(tokens_.expect_operator("("));
  CallArguments arguments;
  while (!tokens_.at_operator(")")) {
    const Position at = tokens_.peek().at;
    if (tokens_.skip_operator("*")) {
      COHORT_TRY(arguments.star, parse_expression());
    } else if (tokens_.skip_operator("**")) {
      COHORT_TRY(arguments.double_star, parse_expression());
    } else if (tokens_.at(Token::kName) && tokens_.peek(1).kind == Token::kOperator &&
               tokens_.peek(1).text == "=") {
      const Symbol name = intern(tokens_.take().text);
      tokens_.take();
      COHORT_TRY(ExprPtr value, parse_expression());
      arguments.named.emplace_back(name, std::move(value));
    } else {
      if (!arguments.named.empty() || arguments.star || arguments.double_star) {
        return fail_at(at, "a positional argument after a named one");
      }
      COHORT_TRY(ExprPtr value, parse_expression());
      arguments.positional.push_back(std::move(value));
    }
    if (!tokens_.skip_operator(",")) break;
  }
  COHORT_TRY_VOID(tokens_.expect_operator(")"));
  return arguments;
}

Result<FilterCall> ExpressionParser::parse_filter_call() {
  COHORT_TRY(const Token name, tokens_.expect(Token::kName, "a filter's name"));
  FilterCall call{intern(name.text), find_filter(name.text), {}, name.at};
  if (tokens_.at_operator("(")) {
    COHORT_TRY(call.arguments, parse_arguments());
  }
  return call;
}

Result<std::vector<FilterCall>> ExpressionParser::parse_filters() {
  std::vector<FilterCall> filters;
  do {
    COHORT_TRY(FilterCall call, parse_filter_call());
    filters.push_back(std::move(call));
  } while (tokens_.skip_operator("|"));
  return filters;
}

Result<ExprPtr> ExpressionParser::parse_filters_and_tests(ExprPtr input) {
  while (true) {
    if (tokens_.at_operator("|")) {
      const Position at = tokens_.take().at;
      COHORT_TRY(FilterCall call, parse_filter_call());
      input = make(at, Filter{std::move(input), std::move(call)});
    } else if (tokens_.at_name("is")) {
      COHORT_TRY(input, parse_test(std::move(input)));
    } else if (tokens_.at_operator("(")) {
      COHORT_TRY(input, parse_postfix(std::move(input)));
    } else {
      return input;
    }
  }
}

Result<ExprPtr> ExpressionParser::parse_test(ExprPtr input) {
  const Position at = tokens_.take().at;
  const bool negated = tokens_.skip_name("not");
  COHORT_TRY(const Token name, tokens_.expect(Token::kName, "a test's name"));
  Test test{std::move(input), intern(name.text), find_test(name.text), {}};
  const bool word_ends_test = tokens_.at_name("else") || tokens_.at_name("or") ||
                              tokens_.at_name("and") || tokens_.at_name("if") ||
                              tokens_.at_name("in") || tokens_.at_name("not");
  if (tokens_.at_operator("(")) {
    COHORT_TRY(test.arguments, parse_arguments());
  } else if (tokens_.at_name("is")) {
    return fail_at(tokens_.peek().at, "tests cannot be chained with 'is'");
  } else if ((tokens_.at(Token::kName) && !word_ends_test) || tokens_.at(Token::kString) ||
             tokens_.at(Token::kInteger) || tokens_.at(Token::kFloat) || tokens_.at_operator("[") ||
             tokens_.at_operator("{")) {
    COHORT_TRY(ExprPtr argument, parse_primary());
    COHORT_TRY(argument, parse_postfix(std::move(argument)));
    test.arguments.positional.push_back(std::move(argument));
  }
  ExprPtr result = make(at, std::move(test));
  return negated ? make(at, Unary{Operator::kNot, std::move(result)}) : std::move(result);
}

Result<Target> ExpressionParser::parse_target(bool with_namespace) {
  const Position at = tokens_.peek().at;
  COHORT_TRY(Target first, parse_target_part(with_namespace));
  if (!tokens_.at_operator(",")) return first;
  Target tuple;
  tuple.at = at;
  tuple.parts.push_back(std::move(first));
  while (tokens_.skip_operator(",")) {
    if (!tokens_.at(Token::kName) && !tokens_.at_operator("(")) break;
    if (tokens_.at_name("in")) break;
    COHORT_TRY(Target part, parse_target_part(with_namespace));
    tuple.parts.push_back(std::move(part));
  }
  return tuple;
}

Result<Target> ExpressionParser::parse_target_part(bool with_namespace) {
  const Depth depth(*this);
  COHORT_TRY_VOID(check_depth());
  if (tokens_.skip_operator("(")) {
    COHORT_TRY(Target inner, parse_target(with_namespace));
    COHORT_TRY_VOID(tokens_.expect_operator(")"));
    return inner;
  }
  COHORT_TRY(const Token name, tokens_.expect(Token::kName, "a name to assign to"));
  static constexpr std::string_view kConstants[] = {"true", "false", "none",
                                                    "True", "False", "None"};
  if (std::find(std::begin(kConstants), std::end(kConstants), name.text) != std::end(kConstants)) {
    return fail_at(name.at, fmt::format("cannot assign to '{}'", name.text));
  }
  Target target;
  target.at = name.at;
  target.name = intern(name.text);
  if (with_namespace && tokens_.skip_operator(".")) {
    COHORT_TRY(const Token attribute, tokens_.expect(Token::kName, "an attribute's name"));
    target.attribute = intern(attribute.text);
  }
  return target;
}

Result<std::vector<Parameter>> ExpressionParser::parse_parameters() {
  COHORT_TRY_VOID(tokens_.expect_operator("("));
  std::vector<Parameter> parameters;
  while (!tokens_.at_operator(")")) {
    COHORT_TRY(const Token name, tokens_.expect(Token::kName, "a parameter's name"));
    Parameter parameter{intern(name.text), nullptr};
    if (tokens_.skip_operator("=")) {
      COHORT_TRY(parameter.default_value, parse_expression());
    } else if (!parameters.empty() && parameters.back().default_value) {
      return fail_at(name.at, "a parameter without a default after one with a default");
    }
    parameters.push_back(std::move(parameter));
    if (!tokens_.skip_operator(",")) break;
  }
  COHORT_TRY_VOID(tokens_.expect_operator(")"));
  return parameters;
}

}  // namespace cohort::text::jinja
