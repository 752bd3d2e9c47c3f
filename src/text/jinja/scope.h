// Variables of one block. Scopes nest: names are looked up outwards, assignments stay in the innermost.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "text/jinja/ast.h"

namespace cohort::text::jinja {

class Scope {
 public:
  explicit Scope(std::shared_ptr<Scope> outer) : outer_(std::move(outer)) {}

  const Value* find(Symbol symbol) const {
    for (const Scope* scope = this; scope; scope = scope->outer_.get()) {
      for (const auto& [name, value] : scope->variables_) {
        if (name == symbol) return &value;
      }
    }
    return nullptr;
  }

  void set(Symbol symbol, Value value) {
    for (auto& [name, held] : variables_) {
      if (name != symbol) continue;
      held = std::move(value);
      return;
    }
    variables_.emplace_back(symbol, std::move(value));
  }

  void clear() { variables_.clear(); }

 private:
  std::shared_ptr<Scope> outer_;
  std::vector<std::pair<Symbol, Value>> variables_;
};

// Macros hold the scope they were defined in, and that scope holds the macro.
using ScopePtr = std::shared_ptr<Scope>;

}  // namespace cohort::text::jinja
