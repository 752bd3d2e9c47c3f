// Renders a parsed template: walks the tree, within bounds.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "text/jinja/ast.h"
#include "text/jinja/builtins.h"
#include "text/jinja/scope.h"

namespace cohort::text::jinja {

// What one rendering may use. Beyond: kTooLarge, naming the limit.
struct Limits {
  size_t steps = 10'000'000;              // expressions and statements evaluated, list items made
  size_t work_bytes = size_t{1} << 30;    // text read and built by operators, filters and methods
  size_t output_bytes = Text::kMaxBytes;  // of any one text
  int depth = 1000;                       // of nested evaluation: macros calling macros
  int nesting = 100;                      // of lists in lists
};

using Variables = std::vector<std::pair<std::string, Value>>;

// One rendering, one thread. The template outlives it.
class Interpreter {
 public:
  Interpreter(const Template& source, const Limits& limits, int64_t now_unix_seconds);
  ~Interpreter();
  Interpreter(const Interpreter&) = delete;
  Interpreter& operator=(const Interpreter&) = delete;

  // Errors carry "line 3, column 7: " but those of raise_exception, whose message is the template's.
  Result<Text> render(const Variables& variables);

  // What follows is for native functions (builtins.h).
  Result<void> charge(size_t steps);
  Result<void> charge_bytes(size_t size_bytes);
  Work& work() { return work_; }  // what equals() and the like take from
  Result<Value> invoke(const Native& native, const Value& self, Arguments arguments);
  Result<Value> call(const Value& callee, Arguments arguments);
  Result<Value> filter(std::string_view name, const Value& input, Arguments arguments);
  Result<bool> test(std::string_view name, const Value& input, Arguments arguments);
  Value make_namespace(std::vector<std::pair<const std::string*, Value>> attributes);
  Symbol own_name(const std::string& name);  // valid until the rendering ends
  tl::unexpected<Error> raise(std::string message);
  int64_t now_unix_seconds() const { return now_unix_seconds_; }

 private:
  enum class Flow { kNext, kBreak, kContinue };
  class Nested;

  Result<void> enter();
  Result<void> charge_for(const Value& value);
  Result<Value> paid(Result<Value> result);  // pays for what was made and read

  Result<Value> evaluate(const Expr& expr);
  Result<Value> evaluate(const Literal& node) { return node.value; }
  Result<Value> evaluate(const Name& node);
  Result<Value> evaluate(const Attribute& node);
  Result<Value> evaluate(const Subscript& node);
  Result<Value> evaluate(const Slice& node);
  Result<Value> evaluate(const Call& node);
  Result<Value> evaluate(const Filter& node);
  Result<Value> evaluate(const Test& node);
  Result<Value> evaluate(const Unary& node);
  Result<Value> evaluate(const Binary& node);
  Result<Value> evaluate(const Concat& node);
  Result<Value> evaluate(const Comparison& node);
  Result<Value> evaluate(const Logical& node);
  Result<Value> evaluate(const Conditional& node);
  Result<Value> evaluate(const ListDisplay& node);
  Result<Value> evaluate(const DictDisplay& node);
  Result<bool> holds(Relation relation, const Value& left, const Value& right);
  Result<Arguments> evaluate_arguments(const CallArguments& arguments);
  Result<Value> apply(const std::vector<FilterCall>& filters, Value input);
  Result<Value> apply(const FilterCall& filter, const Value& input);

  Result<Flow> run(const Block& block);
  Result<Flow> run(const Statement& statement);
  Result<Flow> run(const Data& node);
  Result<Flow> run(const Output& node);
  Result<Flow> run(const If& node);
  Result<Flow> run(const For& node);
  Result<Flow> run(const Set& node);
  Result<Flow> run(const SetBlock& node);
  Result<Flow> run(const Macro& node);
  Result<Flow> run(const CallBlock& node);
  Result<Flow> run(const FilterBlock& node);
  Result<Flow> run(const With& node);
  Result<Flow> run(const Break&) { return Flow::kBreak; }
  Result<Flow> run(const Continue&) { return Flow::kContinue; }
  Result<Flow> run_scoped(const Block& block);
  Result<Flow> run_iteration(const For& node, const Value& item, const LoopPtr& loop);
  Result<ListPtr> loop_items(const For& node);
  Result<Value> capture(const Block& block);
  Result<void> write(const Text& text);
  Result<void> assign(const Target& target, Value value);
  Result<void> assign_parts(const Target& target, const Value& value);

  Value closure(const Function& function);
  Result<Value> call_function(const Function& function, const ScopePtr& scope, Arguments arguments);
  Result<void> bind_parameters(const Function& function, Arguments arguments);
  Result<void> bind_surplus(const Function& function, std::vector<Value> positional,
                            std::vector<std::pair<std::string, Value>> named);

  const Template& template_;
  const Limits limits_;
  const int64_t now_unix_seconds_;
  size_t steps_ = 0;
  Work work_;
  int depth_ = 0;
  ScopePtr scope_;
  Text* output_ = nullptr;
  std::optional<Position> fault_;  // where the error being returned arose
  bool raised_ = false;
  // Kept to cut cycles at the end.
  std::vector<NamespacePtr> namespaces_;
  std::vector<ScopePtr> captured_scopes_;
  std::unordered_set<std::string> own_names_;
};

}  // namespace cohort::text::jinja
