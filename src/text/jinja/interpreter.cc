// Statements, scopes, macros and bounds. Expressions are in evaluate.cc.
#include "text/jinja/interpreter.h"

#include "text/jinja/format.h"

namespace cohort::text::jinja {
namespace {

constexpr size_t kScopeSteps = 8;  // a scope costs about as much as so many expressions

}  // namespace

// One level deeper, in a scope of its own if asked for.
class Interpreter::Nested {
 public:
  explicit Nested(Interpreter& interpreter, ScopePtr inner)
      : interpreter_(interpreter), outer_(std::exchange(interpreter.scope_, std::move(inner))) {}
  ~Nested() {
    ScopePtr inner = std::exchange(interpreter_.scope_, std::move(outer_));
    // Someone else holds it: a macro, maybe one inside the scope itself.
    if (inner.use_count() > 1) interpreter_.captured_scopes_.push_back(std::move(inner));
  }
  Nested(const Nested&) = delete;

 private:
  Interpreter& interpreter_;
  ScopePtr outer_;
};

Interpreter::Interpreter(const Template& source, const Limits& limits, int64_t now_unix_seconds)
    : template_(source),
      limits_(limits),
      now_unix_seconds_(now_unix_seconds),
      work_{limits.work_bytes} {}

Interpreter::~Interpreter() {
  for (const ScopePtr& scope : captured_scopes_) scope->clear();
  for (const NamespacePtr& name_space : namespaces_) name_space->attributes.clear();
}

Result<Text> Interpreter::render(const Variables& variables) {
  scope_ = std::make_shared<Scope>(nullptr);
  captured_scopes_.push_back(scope_);
  for (const auto& [name, value] : variables) {
    if (const Symbol symbol = template_.find_symbol(name)) scope_->set(symbol, value);
  }
  Text text;
  output_ = &text;
  auto done = run(template_.body);
  if (done) return text;
  Error error = std::move(done).error();
  if (raised_ || !fault_) return tl::unexpected<Error>(std::move(error));
  return fail(error.code, "line {}, column {}: {}", fault_->line, fault_->column, error.message);
}

Result<void> Interpreter::charge(size_t steps) {
  steps_ += std::min(steps, limits_.steps + 1);
  if (steps_ > limits_.steps) {
    return fail(Code::kTooLarge, "the chat template takes more than {} steps", limits_.steps);
  }
  return {};
}

Result<void> Interpreter::charge_bytes(size_t size_bytes) {
  if (!work_.spend(size_bytes)) {
    return fail(Code::kTooLarge, "the chat template handles more than {} bytes of text",
                limits_.work_bytes);
  }
  return {};
}

Result<void> Interpreter::charge_for(const Value& value) {
  if (const Text* text = value.text()) {
    if (text->overflowed() || text->size() > limits_.output_bytes) {
      return fail(Code::kTooLarge, "the chat template makes a text over {} bytes",
                  limits_.output_bytes);
    }
    return charge_bytes(text->size());
  }
  if (nesting(value) > limits_.nesting) {
    return fail(Code::kTooLarge, "the chat template nests lists more than {} deep",
                limits_.nesting);
  }
  if (const List* list = value.list()) return charge(list->items.size());
  if (const Dict* dict = value.dict()) return charge(dict->entries.size());
  return {};
}

Result<Value> Interpreter::paid(Result<Value> result) {
  COHORT_TRY_VOID(charge_bytes(0));
  if (result) COHORT_TRY_VOID(charge_for(*result));
  return result;
}

Result<void> Interpreter::enter() {
  if (depth_ >= limits_.depth) {
    return fail(Code::kTooLarge, "the chat template nests calls more than {} deep", limits_.depth);
  }
  return charge(1);
}

tl::unexpected<Error> Interpreter::raise(std::string message) {
  raised_ = true;
  return tl::unexpected<Error>(Error{Code::kInvalidArgument, std::move(message)});
}

Value Interpreter::make_namespace(std::vector<std::pair<const std::string*, Value>> attributes) {
  namespaces_.push_back(std::make_shared<Namespace>(Namespace{std::move(attributes)}));
  return Value(namespaces_.back());
}

Symbol Interpreter::own_name(const std::string& name) {
  if (const Symbol known = template_.find_symbol(name)) return known;
  return &*own_names_.insert(name).first;
}

Result<Interpreter::Flow> Interpreter::run(const Block& block) {
  for (const Statement& statement : block) {
    COHORT_TRY(const Flow flow, run(statement));
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Result<Interpreter::Flow> Interpreter::run(const Statement& statement) {
  COHORT_TRY_VOID(enter());
  ++depth_;
  auto flow = std::visit([this](const auto& node) { return run(node); }, statement.node);
  --depth_;
  if (!flow && !fault_) fault_ = statement.at;
  return flow;
}

Result<void> Interpreter::write(const Text& text) {
  if (text.overflowed() || output_->size() + text.size() > limits_.output_bytes) {
    return fail(Code::kTooLarge, "the chat template writes more than {} bytes",
                limits_.output_bytes);
  }
  output_->append(text);
  return {};
}

Result<Interpreter::Flow> Interpreter::run(const Data& node) {
  COHORT_TRY_VOID(write(node.text));
  return Flow::kNext;
}

Result<Interpreter::Flow> Interpreter::run(const Output& node) {
  COHORT_TRY(const Value value, evaluate(*node.value));
  const Text* text = value.text();
  COHORT_TRY_VOID(write(text ? *text : to_text(value)));
  return Flow::kNext;
}

Result<Interpreter::Flow> Interpreter::run(const If& node) {
  for (const auto& [condition, body] : node.branches) {
    COHORT_TRY(const Value value, evaluate(*condition));
    if (is_true(value)) return run(body);
  }
  return run(node.otherwise);
}

Result<Interpreter::Flow> Interpreter::run_scoped(const Block& block) {
  COHORT_TRY_VOID(charge(kScopeSteps));
  const Nested nested(*this, std::make_shared<Scope>(scope_));
  return run(block);
}

Result<ListPtr> Interpreter::loop_items(const For& node) {
  COHORT_TRY(const Value iterable, evaluate(*node.iterable));
  COHORT_TRY(ListPtr items, iterate(iterable));
  COHORT_TRY_VOID(charge(items->items.size()));
  if (!node.condition) return items;
  auto kept = std::make_shared<List>();
  const Nested nested(*this, std::make_shared<Scope>(scope_));
  for (const Value& item : items->items) {
    COHORT_TRY_VOID(assign(node.target, item));
    COHORT_TRY(const Value keep, evaluate(*node.condition));
    if (is_true(keep)) kept->items.push_back(item);
  }
  return kept;
}

Result<Interpreter::Flow> Interpreter::run_iteration(const For& node, const Value& item,
                                                     const LoopPtr& loop) {
  COHORT_TRY_VOID(charge(kScopeSteps));
  const Nested nested(*this, std::make_shared<Scope>(scope_));
  if (const Symbol symbol = template_.find_symbol("loop")) scope_->set(symbol, Value(loop));
  COHORT_TRY_VOID(assign(node.target, item));
  return run(node.body);
}

Result<Interpreter::Flow> Interpreter::run(const For& node) {
  COHORT_TRY(ListPtr items, loop_items(node));
  if (items->items.empty()) return run_scoped(node.otherwise);
  const auto loop = std::make_shared<Loop>(Loop{items, 0, {}});
  Result<Flow> flow = Flow::kNext;
  for (; loop->index < items->items.size(); ++loop->index) {
    flow = run_iteration(node, items->items[loop->index], loop);
    if (!flow || *flow == Flow::kBreak) break;
  }
  loop->changed.reset();  // it may hold the loop itself
  if (!flow) return flow;
  return Flow::kNext;
}

Result<void> Interpreter::assign_parts(const Target& target, const Value& value) {
  COHORT_TRY(const ListPtr items, iterate(value));
  if (items->items.size() != target.parts.size()) {
    return fail(Code::kInvalidArgument, "cannot unpack {} values into {} names",
                items->items.size(), target.parts.size());
  }
  for (size_t i = 0; i < target.parts.size(); ++i)
    COHORT_TRY_VOID(assign(target.parts[i], items->items[i]));
  return {};
}

Result<void> Interpreter::assign(const Target& target, Value value) {
  if (!target.parts.empty()) return assign_parts(target, value);
  if (!target.attribute) {
    scope_->set(target.name, std::move(value));
    return {};
  }
  const Value* object = scope_->find(target.name);
  Namespace* name_space = object ? object->name_space() : nullptr;
  if (!name_space) {
    return fail(Code::kInvalidArgument, "cannot set '{}': '{}' is no namespace", *target.attribute,
                *target.name);
  }
  if (Value* held = name_space->find(*target.attribute)) {
    *held = std::move(value);
  } else {
    name_space->attributes.emplace_back(target.attribute, std::move(value));
  }
  return {};
}

Result<Interpreter::Flow> Interpreter::run(const Set& node) {
  COHORT_TRY(Value value, evaluate(*node.value));
  COHORT_TRY_VOID(assign(node.target, std::move(value)));
  return Flow::kNext;
}

// What the block writes, as a value. break and continue end with the block.
Result<Value> Interpreter::capture(const Block& block) {
  Text text;
  Text* const outer = std::exchange(output_, &text);
  auto flow = run_scoped(block);
  output_ = outer;
  COHORT_TRY_VOID(charge_bytes(text.size()));
  if (!flow) return tl::unexpected<Error>(std::move(flow).error());
  return Value(std::move(text));
}

Result<Interpreter::Flow> Interpreter::run(const SetBlock& node) {
  COHORT_TRY(Value value, capture(node.body));
  COHORT_TRY(value, apply(node.filters, std::move(value)));
  COHORT_TRY_VOID(assign(node.target, std::move(value)));
  return Flow::kNext;
}

Result<Interpreter::Flow> Interpreter::run(const FilterBlock& node) {
  COHORT_TRY(Value value, capture(node.body));
  COHORT_TRY(value, apply(node.filters, std::move(value)));
  COHORT_TRY_VOID(write(to_text(value)));
  return Flow::kNext;
}

Result<Interpreter::Flow> Interpreter::run(const With& node) {
  COHORT_TRY_VOID(charge(kScopeSteps));
  auto inner = std::make_shared<Scope>(scope_);
  for (const auto& [target, expression] : node.assignments) {
    COHORT_TRY(Value value, evaluate(*expression));
    inner->set(target.name, std::move(value));
  }
  const Nested nested(*this, std::move(inner));
  return run(node.body);
}

Result<Interpreter::Flow> Interpreter::run(const Macro& node) {
  scope_->set(node.name, closure(node.function));
  return Flow::kNext;
}

Value Interpreter::closure(const Function& function) {
  return Value(Callable{function.name,
                        [&function, scope = scope_](Interpreter& interpreter, Arguments arguments) {
                          return interpreter.call_function(function, scope, std::move(arguments));
                        }});
}

Result<Interpreter::Flow> Interpreter::run(const CallBlock& node) {
  const Call& call_node = std::get<Call>(node.call->node);
  COHORT_TRY(const Value callee, evaluate(*call_node.callee));
  COHORT_TRY(Arguments arguments, evaluate_arguments(call_node.arguments));
  arguments.named.emplace_back("caller", closure(node.caller));
  COHORT_TRY(const Value value, call(callee, std::move(arguments)));
  COHORT_TRY_VOID(write(to_text(value)));
  return Flow::kNext;
}

Result<Value> Interpreter::call_function(const Function& function, const ScopePtr& scope,
                                         Arguments arguments) {
  COHORT_TRY_VOID(charge(kScopeSteps));
  const Nested nested(*this, std::make_shared<Scope>(scope));
  COHORT_TRY_VOID(bind_parameters(function, std::move(arguments)));
  return capture(function.body);
}

Result<void> Interpreter::bind_parameters(const Function& function, Arguments arguments) {
  std::vector<Value> positional = std::move(arguments.positional);
  if (function.uses_caller) scope_->set(template_.find_symbol("caller"), Value());
  for (size_t i = 0; i < function.parameters.size(); ++i) {
    const Parameter& parameter = function.parameters[i];
    const auto named =
        std::find_if(arguments.named.begin(), arguments.named.end(),
                     [&](const auto& argument) { return argument.first == *parameter.name; });
    if (i < positional.size()) {
      scope_->set(parameter.name, std::move(positional[i]));
    } else if (named != arguments.named.end()) {
      scope_->set(parameter.name, std::move(named->second));
      arguments.named.erase(named);
    } else if (parameter.default_value) {
      COHORT_TRY(Value value, evaluate(*parameter.default_value));
      scope_->set(parameter.name, std::move(value));
    } else {
      scope_->set(parameter.name, Value(Undefined{parameter.name}));
    }
  }
  const size_t taken = std::min(positional.size(), function.parameters.size());
  positional.erase(positional.begin(), positional.begin() + static_cast<std::ptrdiff_t>(taken));
  return bind_surplus(function, std::move(positional), std::move(arguments.named));
}

// What is left over goes to varargs, kwargs and caller if the body mentions them.
Result<void> Interpreter::bind_surplus(const Function& function, std::vector<Value> positional,
                                       std::vector<std::pair<std::string, Value>> named) {
  std::vector<std::pair<Value, Value>> kwargs;
  for (auto& [name, value] : named) {
    if (name == "caller" && function.uses_caller) {
      scope_->set(template_.find_symbol("caller"), std::move(value));
    } else if (function.uses_kwargs) {
      kwargs.emplace_back(text_value(name), std::move(value));
    } else {
      return fail(Code::kInvalidArgument, "macro '{}' takes no argument '{}'", function.name, name);
    }
  }
  if (!positional.empty() && !function.uses_varargs) {
    return fail(Code::kInvalidArgument, "macro '{}' takes at most {} arguments", function.name,
                function.parameters.size());
  }
  if (function.uses_kwargs)
    scope_->set(template_.find_symbol("kwargs"), make_dict(std::move(kwargs)));
  if (function.uses_varargs) {
    scope_->set(template_.find_symbol("varargs"), make_list(std::move(positional), List::kTuple));
  }
  return {};
}

}  // namespace cohort::text::jinja
