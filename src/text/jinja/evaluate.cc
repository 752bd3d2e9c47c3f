// Expressions of the interpreter.
#include "text/jinja/format.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/operators.h"

namespace cohort::text::jinja {

Result<Value> Interpreter::evaluate(const Expr& expr) {
  COHORT_TRY_VOID(enter());
  ++depth_;
  auto value = std::visit([this](const auto& node) { return evaluate(node); }, expr.node);
  --depth_;
  if (!value && !fault_) fault_ = expr.at;
  return value;
}

Result<Value> Interpreter::evaluate(const Name& node) {
  if (const Value* found = scope_->find(node.symbol)) return *found;
  const Native* native = find_global(*node.symbol);
  if (!native) return Value(Undefined{node.symbol});
  return Value(
      Callable{std::string(native->name), [native](Interpreter& interpreter, Arguments arguments) {
                 return interpreter.invoke(*native, Value(), std::move(arguments));
               }});
}

Result<Value> Interpreter::evaluate(const Attribute& node) {
  COHORT_TRY(const Value object, evaluate(*node.object));
  return get_attribute(object, node.name);
}

Result<Value> Interpreter::evaluate(const Subscript& node) {
  COHORT_TRY(const Value object, evaluate(*node.object));
  COHORT_TRY(const Value index, evaluate(*node.index));
  if (object.text()) COHORT_TRY_VOID(charge_for(object));
  COHORT_TRY(Value item, get_item(object, index));
  const Text* key = index.text();
  return item.is_undefined() && key ? Value(Undefined{own_name(key->bytes())}) : item;
}

Result<Value> Interpreter::evaluate(const Slice& node) {
  COHORT_TRY(const Value object, evaluate(*node.object));
  Value bounds[3];
  const ExprPtr* const parts[3] = {&node.start, &node.stop, &node.step};
  for (size_t i = 0; i < 3; ++i) {
    if (*parts[i]) {
      COHORT_TRY(bounds[i], evaluate(**parts[i]));
    }
  }
  COHORT_TRY_VOID(charge_for(object));
  return paid(get_slice(object, bounds[0], bounds[1], bounds[2]));
}

Result<Arguments> Interpreter::evaluate_arguments(const CallArguments& nodes) {
  Arguments arguments;
  for (const ExprPtr& node : nodes.positional) {
    COHORT_TRY(Value value, evaluate(*node));
    arguments.positional.push_back(std::move(value));
  }
  if (nodes.star) {
    COHORT_TRY(const Value list, evaluate(*nodes.star));
    COHORT_TRY(const ListPtr items, iterate(list));
    COHORT_TRY_VOID(charge(items->items.size()));
    arguments.positional.insert(arguments.positional.end(), items->items.begin(),
                                items->items.end());
  }
  for (const auto& [name, node] : nodes.named) {
    COHORT_TRY(Value value, evaluate(*node));
    arguments.named.emplace_back(*name, std::move(value));
  }
  if (!nodes.double_star) return arguments;
  COHORT_TRY(const Value more, evaluate(*nodes.double_star));
  if (!more.dict())
    return fail(Code::kInvalidArgument, "'**' wants a dict, not '{}'", type_name(more));
  for (const auto& [key, value] : more.dict()->entries) {
    arguments.named.emplace_back(to_text(key).bytes(), value);
  }
  return arguments;
}

Result<Value> Interpreter::evaluate(const Call& node) {
  COHORT_TRY(const Value callee, evaluate(*node.callee));
  COHORT_TRY(Arguments arguments, evaluate_arguments(node.arguments));
  return call(callee, std::move(arguments));
}

Result<Value> Interpreter::call(const Value& callee, Arguments arguments) {
  if (const Callable* callable = callee.callable())
    return callable->call(*this, std::move(arguments));
  const Undefined* undefined = callee.as<Undefined>();
  if (undefined && undefined->name)
    return fail(Code::kInvalidArgument, "'{}' is undefined", *undefined->name);
  return fail(Code::kInvalidArgument, "'{}' object is not callable", type_name(callee));
}

Result<Value> Interpreter::invoke(const Native& native, const Value& self, Arguments arguments) {
  COHORT_TRY_VOID(charge_for(self));
  COHORT_TRY_VOID(bind_arguments(native, arguments));
  for (const Value& argument : arguments.positional) {
    if (argument.text()) COHORT_TRY_VOID(charge_for(argument));
  }
  return paid(native.function(*this, self, arguments));
}

Result<Value> Interpreter::apply(const FilterCall& filter, const Value& input) {
  if (!filter.native) {
    fault_ = fault_.value_or(filter.at);
    return fail(Code::kInvalidArgument, "no filter named '{}'", *filter.name);
  }
  COHORT_TRY(Arguments arguments, evaluate_arguments(filter.arguments));
  return invoke(*filter.native, input, std::move(arguments));
}

Result<Value> Interpreter::apply(const std::vector<FilterCall>& filters, Value input) {
  for (const FilterCall& filter : filters) {
    COHORT_TRY(input, apply(filter, input));
  }
  return input;
}

Result<Value> Interpreter::evaluate(const Filter& node) {
  COHORT_TRY(const Value input, evaluate(*node.input));
  return apply(node.filter, input);
}

Result<Value> Interpreter::evaluate(const Test& node) {
  if (!node.native) return fail(Code::kInvalidArgument, "no test named '{}'", *node.name);
  COHORT_TRY(const Value input, evaluate(*node.input));
  COHORT_TRY(Arguments arguments, evaluate_arguments(node.arguments));
  COHORT_TRY_VOID(bind_arguments(*node.native, arguments));
  return paid(node.native->function(*this, input, arguments));
}

Result<Value> Interpreter::filter(std::string_view name, const Value& input, Arguments arguments) {
  const Native* native = find_filter(name);
  if (!native) return fail(Code::kInvalidArgument, "no filter named '{}'", name);
  COHORT_TRY_VOID(charge(1));
  return invoke(*native, input, std::move(arguments));
}

Result<bool> Interpreter::test(std::string_view name, const Value& input, Arguments arguments) {
  const Native* native = find_test(name);
  if (!native) return fail(Code::kInvalidArgument, "no test named '{}'", name);
  COHORT_TRY_VOID(charge(1));
  COHORT_TRY_VOID(bind_arguments(*native, arguments));
  COHORT_TRY(const Value value, paid(native->function(*this, input, arguments)));
  return is_true(value);
}

Result<Value> Interpreter::evaluate(const Unary& node) {
  COHORT_TRY(const Value operand, evaluate(*node.operand));
  return apply_unary(node.op, operand);
}

Result<Value> Interpreter::evaluate(const Binary& node) {
  COHORT_TRY(const Value left, evaluate(*node.left));
  COHORT_TRY(const Value right, evaluate(*node.right));
  return paid(apply_binary(node.op, left, right, work_));
}

Result<Value> Interpreter::evaluate(const Concat& node) {
  Text text;
  for (const ExprPtr& part : node.parts) {
    COHORT_TRY(const Value value, evaluate(*part));
    text.append(to_text(value));
    if (text.overflowed()) break;  // paid() refuses it
  }
  return paid(Value(std::move(text)));
}

Result<bool> Interpreter::holds(Relation relation, const Value& left, const Value& right) {
  if (relation == Relation::kEqual || relation == Relation::kNotEqual) {
    return equals(left, right, work_) == (relation == Relation::kEqual);
  }
  if (relation == Relation::kIn || relation == Relation::kNotIn) {
    COHORT_TRY(const bool found, contains(right, left, work_));
    return found == (relation == Relation::kIn);
  }
  COHORT_TRY(const int order, compare(left, right, work_));
  switch (relation) {
    case Relation::kLess: return order < 0;
    case Relation::kLessEqual: return order <= 0;
    case Relation::kGreater: return order > 0;
    default: return order >= 0;
  }
}

Result<Value> Interpreter::evaluate(const Comparison& node) {
  COHORT_TRY(Value left, evaluate(*node.first));
  for (const auto& [relation, expression] : node.rest) {
    COHORT_TRY(Value right, evaluate(*expression));
    COHORT_TRY(const bool true_so_far, holds(relation, left, right));
    COHORT_TRY_VOID(charge_bytes(0));
    if (!true_so_far) return Value(false);
    left = std::move(right);
  }
  return Value(true);
}

Result<Value> Interpreter::evaluate(const Logical& node) {
  COHORT_TRY(Value left, evaluate(*node.left));
  if (is_true(left) != node.is_and) return left;
  return evaluate(*node.right);
}

Result<Value> Interpreter::evaluate(const Conditional& node) {
  COHORT_TRY(const Value condition, evaluate(*node.condition));
  if (is_true(condition)) return evaluate(*node.then);
  return node.otherwise ? evaluate(*node.otherwise) : Result<Value>(Value());
}

Result<Value> Interpreter::evaluate(const ListDisplay& node) {
  std::vector<Value> items;
  for (const ExprPtr& item : node.items) {
    COHORT_TRY(Value value, evaluate(*item));
    items.push_back(std::move(value));
  }
  return paid(make_list(std::move(items), node.is_tuple ? List::kTuple : List::kList));
}

Result<Value> Interpreter::evaluate(const DictDisplay& node) {
  std::vector<std::pair<Value, Value>> entries;
  for (const auto& [key_node, value_node] : node.entries) {
    COHORT_TRY(Value key, evaluate(*key_node));
    if (key.list() || key.dict()) {
      return fail(Code::kInvalidArgument, "a '{}' cannot be a dict's key", type_name(key));
    }
    COHORT_TRY(Value value, evaluate(*value_node));
    entries.emplace_back(std::move(key), std::move(value));
  }
  return paid(make_dict(std::move(entries)));
}

}  // namespace cohort::text::jinja
