// A parsed template. Plain data; immutable once parsed, so threads share it.
#pragma once

#include <memory>
#include <string>
#include <unordered_set>
#include <utility>
#include <variant>
#include <vector>

#include "text/jinja/token.h"
#include "text/jinja/value.h"

namespace cohort::text::jinja {

struct Native;

using Symbol = const std::string*;  // interned in Template::names: equal names are equal pointers

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

struct CallArguments {
  std::vector<ExprPtr> positional;
  std::vector<std::pair<Symbol, ExprPtr>> named;
  ExprPtr star, double_star;  // *list, **dict; null when absent
};

struct Literal {
  Value value;
};
struct Name {
  Symbol symbol;
};
struct Attribute {
  ExprPtr object;
  Symbol name;
};
struct Subscript {
  ExprPtr object, index;
};
struct Slice {
  ExprPtr object, start, stop, step;  // all but object may be null
};
struct Call {
  ExprPtr callee;
  CallArguments arguments;
};
struct FilterCall {
  Symbol name;
  const Native* native;  // null: no such filter, an error when it is reached
  CallArguments arguments;
  Position at;
};
struct Filter {
  ExprPtr input;
  FilterCall filter;
};
struct Test {
  ExprPtr input;
  Symbol name;
  const Native* native;
  CallArguments arguments;
};
enum class Operator {
  kAdd,
  kSubtract,
  kMultiply,
  kDivide,
  kFloorDivide,
  kModulo,
  kPower,
  kNegate,
  kPlus,
  kNot
};
struct Unary {
  Operator op;
  ExprPtr operand;
};
struct Binary {
  Operator op;
  ExprPtr left, right;
};
struct Concat {
  std::vector<ExprPtr> parts;
};
enum class Relation { kEqual, kNotEqual, kLess, kLessEqual, kGreater, kGreaterEqual, kIn, kNotIn };
struct Comparison {
  ExprPtr first;
  std::vector<std::pair<Relation, ExprPtr>> rest;  // chained, as in a < b < c
};
struct Logical {
  bool is_and;
  ExprPtr left, right;
};
struct Conditional {
  ExprPtr then, condition, otherwise;  // otherwise may be null: undefined
};
struct ListDisplay {
  std::vector<ExprPtr> items;
  bool is_tuple;
};
struct DictDisplay {
  std::vector<std::pair<ExprPtr, ExprPtr>> entries;
};

struct Expr {
  Position at;
  std::variant<Literal, Name, Attribute, Subscript, Slice, Call, Filter, Test, Unary, Binary,
               Concat, Comparison, Logical, Conditional, ListDisplay, DictDisplay>
      node;
};

struct Statement;
using Block = std::vector<Statement>;

// What is assigned to: a name, an attribute of a namespace, or several of these.
struct Target {
  Position at;
  Symbol name = nullptr;
  Symbol attribute = nullptr;
  std::vector<Target> parts;  // not empty: a tuple, and name is null
};

struct Parameter {
  Symbol name;
  ExprPtr default_value;  // may be null
};
// The callable part of macro and call blocks.
struct Function {
  std::string name;
  std::vector<Parameter> parameters;
  std::vector<Statement> body;
  bool uses_varargs = false, uses_kwargs = false, uses_caller = false;
};

struct Data {
  Text text;
};
struct Output {
  ExprPtr value;
};
struct If {
  std::vector<std::pair<ExprPtr, Block>> branches;
  Block otherwise;
};
struct For {
  Target target;
  ExprPtr iterable, condition;  // condition may be null
  Block body, otherwise;
};
struct Set {
  Target target;
  ExprPtr value;
};
struct SetBlock {
  Target target;
  std::vector<FilterCall> filters;
  Block body;
};
struct Macro {
  Symbol name;
  Function function;
};
struct CallBlock {
  Function caller;
  ExprPtr call;
};
struct FilterBlock {
  std::vector<FilterCall> filters;
  Block body;
};
struct With {
  std::vector<std::pair<Target, ExprPtr>>
      assignments;  // none for {% generation %}, which only makes a scope
  Block body;
};
struct Break {};
struct Continue {};

struct Statement {
  Position at;
  std::variant<Data, Output, If, For, Set, SetBlock, Macro, CallBlock, FilterBlock, With, Break,
               Continue>
      node;
};

struct Template {
  Block body;
  std::unordered_set<std::string> names;  // never changed after parsing: Symbols point in here

  // Null when the template does not mention the name.
  Symbol find_symbol(const std::string& name) const {
    const auto found = names.find(name);
    return found == names.end() ? nullptr : &*found;
  }
};

}  // namespace cohort::text::jinja
