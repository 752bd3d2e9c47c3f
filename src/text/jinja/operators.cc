#include "text/jinja/operators.h"

#include <algorithm>
#include <cmath>

#include "text/jinja/builtins.h"
#include "text/jinja/format.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/string_format.h"
#include "text/jinja/text_functions.h"
#include "text/jinja/unicode.h"

namespace cohort::text::jinja {
namespace {

std::string_view symbol_of(Operator op) {
  switch (op) {
    case Operator::kAdd: return "+";
    case Operator::kSubtract: return "-";
    case Operator::kMultiply: return "*";
    case Operator::kDivide: return "/";
    case Operator::kFloorDivide: return "//";
    case Operator::kModulo: return "%";
    case Operator::kPower: return "**";
    case Operator::kNegate: return "-";
    case Operator::kPlus: return "+";
    case Operator::kNot: return "not";
  }
  return "?";
}

tl::unexpected<Error> unsupported(Operator op, const Value& left, const Value& right) {
  for (const Value* side : {&left, &right}) {
    const Undefined* undefined = side->as<Undefined>();
    if (undefined && undefined->name)
      return fail(Code::kInvalidArgument, "'{}' is undefined", *undefined->name);
  }
  return fail(Code::kInvalidArgument, "unsupported operand types for {}: '{}' and '{}'",
              symbol_of(op), type_name(left), type_name(right));
}

tl::unexpected<Error> overflow(Operator op) {
  return fail(Code::kInvalidArgument, "{} of integers leaves 64 bits", symbol_of(op));
}

Result<Value> integer_power(int64_t base, int64_t exponent) {
  if (exponent < 0)
    return Value(std::pow(static_cast<double>(base), static_cast<double>(exponent)));
  int64_t result = 1;
  for (; exponent > 0; exponent >>= 1) {
    if ((exponent & 1) && __builtin_mul_overflow(result, base, &result))
      return overflow(Operator::kPower);
    if (exponent > 1 && __builtin_mul_overflow(base, base, &base))
      return overflow(Operator::kPower);
  }
  return Value(result);
}

Result<Value> divide_integers(Operator op, int64_t a, int64_t b) {
  if (b == 0) return fail(Code::kInvalidArgument, "division by zero");
  if (op == Operator::kDivide) return Value(static_cast<double>(a) / static_cast<double>(b));
  if (b == -1) {  // the one quotient that may not fit
    if (op == Operator::kModulo) return Value(int64_t{0});
    if (a == INT64_MIN) return overflow(op);
    return Value(-a);
  }
  const int64_t quotient = a / b, remainder = a % b;
  const bool round_down = remainder != 0 && (remainder < 0) != (b < 0);
  if (op == Operator::kModulo) return Value(round_down ? remainder + b : remainder);
  return Value(round_down ? quotient - 1 : quotient);
}

Result<Value> on_integers(Operator op, int64_t a, int64_t b) {
  int64_t result = 0;
  bool overflows = false;
  switch (op) {
    case Operator::kAdd: overflows = __builtin_add_overflow(a, b, &result); break;
    case Operator::kSubtract: overflows = __builtin_sub_overflow(a, b, &result); break;
    case Operator::kMultiply: overflows = __builtin_mul_overflow(a, b, &result); break;
    case Operator::kPower: return integer_power(a, b);
    default: return divide_integers(op, a, b);
  }
  if (overflows) return overflow(op);
  return Value(result);
}

Result<Value> on_floats(Operator op, double a, double b) {
  switch (op) {
    case Operator::kAdd: return Value(a + b);
    case Operator::kSubtract: return Value(a - b);
    case Operator::kMultiply: return Value(a * b);
    case Operator::kPower: return Value(std::pow(a, b));
    default: break;
  }
  if (b == 0) return fail(Code::kInvalidArgument, "float division by zero");
  if (op == Operator::kDivide) return Value(a / b);
  if (op == Operator::kFloorDivide) return Value(std::floor(a / b));
  const double remainder = std::fmod(a, b);
  return Value(remainder != 0 && (remainder < 0) != (b < 0) ? remainder + b : remainder);
}

Result<Value> repeat(const Value& sequence, int64_t times) {
  const size_t count = times > 0 ? static_cast<size_t>(times) : 0;
  const Text* text = sequence.text();
  const size_t size = text ? text->size() : sequence.list()->items.size();
  const size_t max_size = text ? Text::kMaxBytes : kMaxListItems;
  if (size > 0 && count > max_size / size) {
    return fail(Code::kTooLarge, "{} times {} is over the limit of {}", count, size, max_size);
  }
  if (text) {
    Text out;
    for (size_t i = 0; i < count; ++i) out.append(*text);
    return Value(std::move(out));
  }
  std::vector<Value> items;
  for (size_t i = 0; i < count; ++i) {
    items.insert(items.end(), sequence.list()->items.begin(), sequence.list()->items.end());
  }
  return make_list(std::move(items), sequence.list()->kind);
}

Result<Value> join_sequences(const Value& left, const Value& right) {
  if (left.text() && right.text()) {
    Text out = *left.text();
    out.append(*right.text());
    return Value(std::move(out));
  }
  if (left.list() && right.list() && left.list()->kind == right.list()->kind) {
    std::vector<Value> items = left.list()->items;
    if (items.size() + right.list()->items.size() > kMaxListItems) {
      return fail(Code::kTooLarge, "a list of more than {} items", kMaxListItems);
    }
    items.insert(items.end(), right.list()->items.begin(), right.list()->items.end());
    return make_list(std::move(items), left.list()->kind);
  }
  return unsupported(Operator::kAdd, left, right);
}

Value loop_attribute(const Value& object, std::string_view name) {
  const Loop& loop = *object.loop();
  const int64_t index = static_cast<int64_t>(loop.index),
                length = static_cast<int64_t>(loop.items->items.size());
  if (name == "index") return Value(index + 1);
  if (name == "index0") return Value(index);
  if (name == "revindex") return Value(length - index);
  if (name == "revindex0") return Value(length - index - 1);
  if (name == "first") return Value(index == 0);
  if (name == "last") return Value(index + 1 == length);
  if (name == "length") return Value(length);
  if (name == "depth") return Value(int64_t{1});  // counts recursion, which we do not have
  if (name == "depth0") return Value(int64_t{0});
  if (name == "previtem" && index > 0) return loop.items->items[loop.index - 1];
  if (name == "nextitem" && index + 1 < length) return loop.items->items[loop.index + 1];
  return Value();
}

Value bind_method(const Value& object, const Native& native) {
  return Value(Callable{std::string(native.name),
                        [object, &native](Interpreter& interpreter, Arguments arguments) {
                          return interpreter.invoke(native, object, std::move(arguments));
                        }});
}

// What the object itself calls so: methods before anything else, as Python's getattr.
Value own_attribute(const Value& object, std::string_view name) {
  if (const Native* method = find_method(object, name)) return bind_method(object, *method);
  if (object.loop()) return loop_attribute(object, name);
  if (Namespace* name_space = object.name_space()) {
    const Value* found = name_space->find(name);
    return found ? *found : Value();
  }
  const List* list = object.list();
  if (list && list->kind == List::kGroup && name == "grouper") return list->items[0];
  if (list && list->kind == List::kGroup && name == "list") return list->items[1];
  if (object.callable() && name == "name") return text_value(object.callable()->name);
  return Value();
}

// -1 counts from the end; nullopt when out of range.
std::optional<size_t> position_of(int64_t index, size_t size) {
  if (index < 0) index += static_cast<int64_t>(size);
  if (index < 0 || index >= static_cast<int64_t>(size)) return std::nullopt;
  return static_cast<size_t>(index);
}

Result<std::optional<int64_t>> slice_bound(const Value& bound) {
  if (bound.is_undefined() || bound.is_none()) return std::optional<int64_t>();
  const auto integer = bound.integer();
  if (!integer)
    return fail(Code::kInvalidArgument, "slice indices must be integers, not '{}'",
                type_name(bound));
  return integer;
}

struct SliceRange {
  int64_t start, step;
  size_t count;
};

// As Python's slice.indices.
SliceRange slice_range(std::optional<int64_t> start, std::optional<int64_t> stop, int64_t step,
                       int64_t size) {
  const int64_t lowest = step < 0 ? -1 : 0, highest = step < 0 ? size - 1 : size;
  const auto clamp = [&](std::optional<int64_t> bound, int64_t absent) {
    if (!bound) return absent;
    const int64_t from_start = *bound < 0 ? *bound + size : *bound;
    return std::clamp(from_start, lowest, highest);
  };
  const int64_t first = clamp(start, step < 0 ? highest : lowest),
                last = clamp(stop, step < 0 ? lowest : highest);
  const int64_t distance = step < 0 ? first - last : last - first;
  const uint64_t stride = step < 0 ? 0 - static_cast<uint64_t>(step) : static_cast<uint64_t>(step);
  const size_t count = distance <= 0 ? 0 : (static_cast<uint64_t>(distance) - 1) / stride + 1;
  return {first, step, count};
}

Text slice_text(const Text& text, const std::vector<size_t>& offsets, const SliceRange& range) {
  const size_t first = static_cast<size_t>(range.start);
  if (range.step == 1 && range.count > 0)
    return text.slice(offsets[first], offsets[first + range.count]);
  Text out;
  for (size_t i = 0; i < range.count; ++i) {
    const size_t at = static_cast<size_t>(range.start + static_cast<int64_t>(i) * range.step);
    out.append_slice(text, offsets[at], offsets[at + 1]);
  }
  return out;
}

}  // namespace

Result<Value> apply_unary(Operator op, const Value& operand) {
  if (op == Operator::kNot) return Value(!is_true(operand));
  const auto integer = operand.integer();
  if (integer && op == Operator::kPlus) return Value(*integer);
  if (integer) return on_integers(Operator::kSubtract, 0, *integer);
  if (const auto number = operand.number())
    return Value(op == Operator::kNegate ? -*number : *number);
  return fail(Code::kInvalidArgument, "bad operand type for unary {}: '{}'", symbol_of(op),
              type_name(operand));
}

Result<Value> apply_binary(Operator op, const Value& left, const Value& right, Work& work) {
  if (left.integer() && right.integer()) return on_integers(op, *left.integer(), *right.integer());
  if (left.number() && right.number()) return on_floats(op, *left.number(), *right.number());
  if (op == Operator::kAdd) return join_sequences(left, right);
  if (op == Operator::kMultiply) {
    if ((left.text() || left.list()) && right.integer()) return repeat(left, *right.integer());
    if (left.integer() && (right.text() || right.list())) return repeat(right, *left.integer());
  }
  if (op == Operator::kModulo && left.text()) {
    COHORT_TRY(Text text, format_percent(*left.text(), right, work));
    return Value(std::move(text));
  }
  return unsupported(op, left, right);
}

Result<bool> contains(const Value& container, const Value& item, Work& work) {
  if (const Text* text = container.text()) {
    if (const Text* part = item.text()) {
      work.spend(text->size());
      return find_bytes(text->bytes(), part->bytes(), 0) != std::string::npos;
    }
    return fail(Code::kInvalidArgument, "'in <string>' requires a string, not '{}'",
                type_name(item));
  }
  if (const Dict* dict = container.dict()) return dict->find(item) != nullptr;
  COHORT_TRY(const ListPtr items, iterate(container));
  return std::any_of(items->items.begin(), items->items.end(),
                     [&](const Value& other) { return equals(item, other, work); });
}

Result<Value> get_attribute(const Value& object, Symbol name) {
  if (const Undefined* undefined = object.as<Undefined>()) {
    const std::string what = undefined->name ? "'" + *undefined->name + "'" : "a value";
    return fail(Code::kInvalidArgument, "{} is undefined, so it has no '{}'", what, *name);
  }
  Value own = own_attribute(object, *name);
  if (!own.is_undefined()) return own;
  if (const Dict* dict = object.dict()) {
    if (const Value* found = dict->find(*name)) return *found;
  }
  return Value(Undefined{name});
}

Result<Value> get_item(const Value& object, const Value& key) {
  if (const Undefined* undefined = object.as<Undefined>()) {
    return fail(Code::kInvalidArgument, "'{}' is undefined",
                undefined->name ? *undefined->name : "a value");
  }
  if (const Dict* dict = object.dict()) {
    if (const Value* found = dict->find(key)) return *found;
  }
  if (const Text* name = key.text()) return own_attribute(object, name->bytes());
  const auto index = key.integer();
  if (!index) return Value();
  if (const List* list = object.list()) {
    const auto at = position_of(*index, list->items.size());
    return at ? list->items[*at] : Value();
  }
  if (const Text* text = object.text()) {
    const std::vector<size_t> offsets = code_point_offsets(text->bytes());
    const auto at = position_of(*index, offsets.size() - 1);
    return at ? Value(text->slice(offsets[*at], offsets[*at + 1])) : Value();
  }
  return Value();
}

Result<Value> get_slice(const Value& object, const Value& start, const Value& stop,
                        const Value& step) {
  COHORT_TRY(const auto first, slice_bound(start));
  COHORT_TRY(const auto last, slice_bound(stop));
  COHORT_TRY(const auto stride, slice_bound(step));
  if (stride == 0) return fail(Code::kInvalidArgument, "slice step cannot be zero");
  if (const Text* text = object.text()) {
    const std::vector<size_t> offsets = code_point_offsets(text->bytes());
    const auto range =
        slice_range(first, last, stride.value_or(1), static_cast<int64_t>(offsets.size()) - 1);
    return Value(slice_text(*text, offsets, range));
  }
  const List* list = object.list();
  if (!list) return object.is_undefined() ? get_item(object, start) : Result<Value>(Value());
  const auto range =
      slice_range(first, last, stride.value_or(1), static_cast<int64_t>(list->items.size()));
  std::vector<Value> items;
  items.reserve(range.count);
  for (size_t i = 0; i < range.count; ++i) {
    items.push_back(
        list->items[static_cast<size_t>(range.start + static_cast<int64_t>(i) * range.step)]);
  }
  return make_list(std::move(items), list->kind == List::kList ? List::kList : List::kTuple);
}

}  // namespace cohort::text::jinja
