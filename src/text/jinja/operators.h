// Python's operators on values.
#pragma once

#include "base/result.h"
#include "text/jinja/ast.h"
#include "text/jinja/value.h"

namespace cohort::text::jinja {

// kInvalidArgument names the types; a list over kMaxListItems or a text over Text::kMaxBytes is kTooLarge.
Result<Value> apply_unary(Operator op, const Value& operand);
Result<Value> apply_binary(Operator op, const Value& left, const Value& right, Work& work);

Result<bool> contains(const Value& container, const Value& item, Work& work);

// object.name and object[key]: undefined when there is none. A method comes back as a callable.
Result<Value> get_attribute(const Value& object, Symbol name);
Result<Value> get_item(const Value& object, const Value& key);
// Absent bounds are undefined or none.
Result<Value> get_slice(const Value& object, const Value& start, const Value& stop,
                        const Value& step);

}  // namespace cohort::text::jinja
