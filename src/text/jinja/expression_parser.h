// Expressions, by recursive descent with Jinja's precedence:
// if-else < or < and < not < comparison < + - < ~ < * / // % < ** < unary < postfix, filters and tests.
#pragma once

#include "text/jinja/ast.h"
#include "text/jinja/token_stream.h"

namespace cohort::text::jinja {

class ExpressionParser {
 public:
  ExpressionParser(TokenStream& tokens, Template& out) : tokens_(tokens), template_(out) {}

  Result<ExprPtr> parse_expression(bool with_condition = true);
  // An expression, or a tuple when commas follow. Stops before "recursive" and "if" in a for tag.
  Result<ExprPtr> parse_tuple(bool with_condition = true);
  // name, name.attribute, (a, b) or a, b.
  Result<Target> parse_target(bool with_namespace);
  Result<CallArguments> parse_arguments();            // from '('
  Result<FilterCall> parse_filter_call();             // after '|' or "filter"
  Result<std::vector<FilterCall>> parse_filters();    // name | name(...) | ...
  Result<std::vector<Parameter>> parse_parameters();  // from '('

  Symbol intern(const std::string& name) { return &*template_.names.insert(name).first; }

  // The macro being parsed, which learns whether it needs varargs, kwargs and caller. May be null.
  Function* function = nullptr;

  // Guards recursion of expressions and blocks alike.
  class Depth {
   public:
    explicit Depth(ExpressionParser& parser) : depth_(parser.depth_) { ++depth_; }
    ~Depth() { --depth_; }
    Depth(const Depth&) = delete;

   private:
    int& depth_;
  };
  Result<void> check_depth() const;

 private:
  Result<ExprPtr> parse_or();
  Result<ExprPtr> parse_and();
  Result<ExprPtr> parse_not();
  Result<ExprPtr> parse_comparison();
  Result<ExprPtr> parse_sum();
  Result<ExprPtr> parse_concat();
  Result<ExprPtr> parse_product();
  Result<ExprPtr> parse_power();
  Result<ExprPtr> parse_unary(bool with_filters);
  Result<ExprPtr> parse_primary();
  Result<ExprPtr> parse_name();
  Result<ExprPtr> parse_number();
  Result<ExprPtr> parse_parenthesis();
  Result<ExprPtr> parse_list();
  Result<ExprPtr> parse_dict();
  Result<ExprPtr> parse_postfix(ExprPtr object);
  Result<ExprPtr> parse_attribute(ExprPtr object);
  Result<ExprPtr> parse_subscript(ExprPtr object);
  Result<ExprPtr> parse_filters_and_tests(ExprPtr input);
  Result<ExprPtr> parse_test(ExprPtr input);
  Result<std::pair<bool, Relation>> parse_relation();
  Result<Target> parse_target_part(bool with_namespace);
  bool at_end_of_tuple() const;

  template <class Node>
  static ExprPtr make(Position at, Node node) {
    return std::make_unique<Expr>(Expr{at, std::move(node)});
  }

  TokenStream& tokens_;
  Template& template_;
  int depth_ = 0;
};

}  // namespace cohort::text::jinja
