#include <algorithm>

#include "text/jinja/arguments.h"
#include "text/jinja/filters.h"
#include "text/jinja/format.h"
#include "text/jinja/interpreter.h"
#include "text/jinja/operators.h"
#include "text/jinja/text_functions.h"
#include "text/jinja/unicode.h"

namespace cohort::text::jinja {
namespace {

constexpr int64_t kMaxBatch = 100'000;

Result<Value> length(Interpreter&, const Value& self, Arguments&) {
  if (const Text* text = self.text())
    return Value(static_cast<int64_t>(count_code_points(text->bytes())));
  if (const Dict* dict = self.dict()) return Value(static_cast<int64_t>(dict->entries.size()));
  if (!self.list() && !self.is_undefined()) {
    return fail(Code::kInvalidArgument, "object of type '{}' has no length", type_name(self));
  }
  return Value(self.list() ? static_cast<int64_t>(self.list()->items.size()) : 0);
}

// Of a text without taking all of it apart.
Result<Value> character_at(const Value& text, int64_t index) {
  return get_item(text, Value(index));
}

Result<Value> first(Interpreter&, const Value& self, Arguments&) {
  if (self.text()) return character_at(self, 0);
  COHORT_TRY(const ListPtr items, iterate(self));
  return items->items.empty() ? Value() : items->items.front();
}

Result<Value> last(Interpreter&, const Value& self, Arguments&) {
  if (self.text()) return character_at(self, -1);
  COHORT_TRY(const ListPtr items, iterate(self));
  return items->items.empty() ? Value() : items->items.back();
}

Result<Value> as_list(Interpreter&, const Value& self, Arguments&) {
  COHORT_TRY(const ListPtr items, iterate(self));
  return make_list(items->items);
}

Result<Value> reverse(Interpreter&, const Value& self, Arguments&) {
  COHORT_TRY(const ListPtr items, iterate(self));
  std::vector<Value> reversed(items->items.rbegin(), items->items.rend());
  if (!self.text()) return make_list(std::move(reversed));
  Text out;
  for (const Value& character : reversed) out.append(*character.text());
  return Value(std::move(out));
}

Result<Value> join(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  COHORT_TRY(const ListPtr items, iterate(self));
  const Text separator = to_text(arguments.positional[0]);
  const Value& path = arguments.positional[1];
  Text out;
  for (size_t i = 0; i < items->items.size(); ++i) {
    COHORT_TRY(const Value item, path.is_undefined() || path.is_none()
                                     ? Result<Value>(items->items[i])
                                     : attribute_at(items->items[i], path));
    const Text text = to_text(item);
    COHORT_TRY_VOID(interpreter.charge_bytes(separator.size() + text.size()));
    if (i > 0) out.append(separator);
    out.append(text);
  }
  return Value(std::move(out));
}

Result<Value> items(Interpreter&, const Value& self, Arguments&) {
  std::vector<Value> pairs;
  if (self.is_undefined()) return make_list({});
  if (!self.dict()) return fail(Code::kInvalidArgument, "items() of '{}'", type_name(self));
  for (const auto& [key, value] : self.dict()->entries)
    pairs.push_back(make_list({key, value}, List::kTuple));
  return make_list(std::move(pairs));
}

Result<Value> sort_key(Interpreter& interpreter, const Value& value, bool case_sensitive) {
  const Text* text = value.text();
  if (!text || case_sensitive) return value;
  COHORT_TRY_VOID(interpreter.charge_bytes(text->size()));
  return Value(change_case(*text, Case::kLower));
}

struct Keyed {
  Value key, item;
};

// Pairs of what to sort by and the item; `path` undefined: the item itself.
Result<std::vector<Keyed>> keyed(Interpreter& interpreter, const ListPtr& list, const Value& path,
                                 bool case_sensitive) {
  std::vector<Keyed> rows;
  rows.reserve(list->items.size());
  for (const Value& item : list->items) {
    COHORT_TRY(const Value key, path.is_undefined() || path.is_none() ? Result<Value>(item)
                                                                      : attribute_at(item, path));
    COHORT_TRY(Value sorted_by, sort_key(interpreter, key, case_sensitive));
    rows.push_back({std::move(sorted_by), item});
  }
  return rows;
}

// Stable also when reversed, as Python's sorted.
Result<void> sort_rows(Interpreter& interpreter, std::vector<Keyed>& rows, bool reversed) {
  Result<void> status;
  COHORT_TRY_VOID(interpreter.charge(rows.size() * 8));
  std::stable_sort(rows.begin(), rows.end(), [&](const Keyed& a, const Keyed& b) {
    const auto order = reversed ? compare(b.key, a.key, interpreter.work())
                                : compare(a.key, b.key, interpreter.work());
    if (!order && status) status = tl::unexpected<Error>(order.error());
    return order && *order < 0;
  });
  return status;
}

Value items_of(std::vector<Keyed> rows) {
  std::vector<Value> items;
  items.reserve(rows.size());
  for (Keyed& row : rows) items.push_back(std::move(row.item));
  return make_list(std::move(items));
}

Result<Value> sort(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  COHORT_TRY(const ListPtr list, iterate(self));
  COHORT_TRY(auto rows,
             keyed(interpreter, list, arguments.positional[2], flag_argument(arguments, 1, false)));
  COHORT_TRY_VOID(sort_rows(interpreter, rows, flag_argument(arguments, 0, false)));
  return items_of(std::move(rows));
}

Result<Value> dictsort(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  if (!self.dict()) return fail(Code::kInvalidArgument, "dictsort() of '{}'", type_name(self));
  const Text* by = arguments.positional[1].text();
  const bool by_value = by && by->bytes() == "value";
  std::vector<Keyed> rows;
  for (const auto& [key, value] : self.dict()->entries) {
    COHORT_TRY(Value sorted_by,
               sort_key(interpreter, by_value ? value : key, flag_argument(arguments, 0, false)));
    rows.push_back({std::move(sorted_by), make_list({key, value}, List::kTuple)});
  }
  COHORT_TRY_VOID(sort_rows(interpreter, rows, flag_argument(arguments, 2, false)));
  return items_of(std::move(rows));
}

Result<Value> unique(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  COHORT_TRY(const ListPtr list, iterate(self));
  COHORT_TRY(auto rows,
             keyed(interpreter, list, arguments.positional[1], flag_argument(arguments, 0, false)));
  std::vector<Value> seen, kept;
  for (Keyed& row : rows) {
    COHORT_TRY_VOID(interpreter.charge(1 + seen.size() / 4));
    if (std::any_of(seen.begin(), seen.end(),
                    [&](const Value& key) { return equals(key, row.key, interpreter.work()); }))
      continue;
    seen.push_back(std::move(row.key));
    kept.push_back(std::move(row.item));
  }
  return make_list(std::move(kept));
}

Result<Value> extreme(Interpreter& interpreter, const Value& self, Arguments& arguments,
                      int wanted_order) {
  COHORT_TRY(const ListPtr list, iterate(self));
  COHORT_TRY(const auto rows,
             keyed(interpreter, list, arguments.positional[1], flag_argument(arguments, 0, false)));
  const Keyed* best = rows.empty() ? nullptr : rows.data();
  for (const Keyed& row : rows) {
    COHORT_TRY(const int order, compare(row.key, best->key, interpreter.work()));
    if (order * wanted_order > 0) best = &row;
  }
  return best ? best->item : Value();
}

Result<Value> smallest(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  return extreme(interpreter, self, arguments, -1);
}
Result<Value> largest(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  return extreme(interpreter, self, arguments, 1);
}

Result<Value> sum(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  COHORT_TRY(const ListPtr list, iterate(self));
  const Value& path = arguments.positional[0];
  Value total =
      arguments.positional[1].is_undefined() ? Value(int64_t{0}) : arguments.positional[1];
  for (const Value& item : list->items) {
    COHORT_TRY(const Value part, path.is_undefined() || path.is_none() ? Result<Value>(item)
                                                                       : attribute_at(item, path));
    if (part.text()) return fail(Code::kInvalidArgument, "sum() of strings; use join()");
    COHORT_TRY(total, apply_binary(Operator::kAdd, total, part, interpreter.work()));
    if (total.list()) COHORT_TRY_VOID(interpreter.charge(total.list()->items.size()));
  }
  return total;
}

Result<Value> batch(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  COHORT_TRY(const ListPtr list, iterate(self));
  COHORT_TRY(const int64_t size, integer_argument(arguments, 0, 0));
  if (size < 1 || size > kMaxBatch) return fail(Code::kInvalidArgument, "batch() by {}", size);
  const Value& fill = arguments.positional[1];
  std::vector<Value> batches, current;
  for (const Value& item : list->items) {
    current.push_back(item);
    if (static_cast<int64_t>(current.size()) == size)
      batches.push_back(make_list(std::exchange(current, {})));
  }
  if (!current.empty()) {
    if (!fill.is_undefined() && !fill.is_none()) current.resize(static_cast<size_t>(size), fill);
    COHORT_TRY_VOID(interpreter.charge(current.size()));
    batches.push_back(make_list(std::move(current)));
  }
  return make_list(std::move(batches));
}

// So many lists of nearly the same length.
Result<Value> slice(Interpreter&, const Value& self, Arguments& arguments) {
  COHORT_TRY(const ListPtr list, iterate(self));
  COHORT_TRY(const int64_t slices, integer_argument(arguments, 0, 0));
  if (slices < 1 || slices > kMaxBatch)
    return fail(Code::kInvalidArgument, "slice() into {}", slices);
  const size_t count = static_cast<size_t>(slices), size = list->items.size() / count;
  const size_t longer = list->items.size() % count;
  const Value& fill = arguments.positional[1];
  std::vector<Value> parts;
  auto next = list->items.begin();
  for (size_t i = 0; i < count; ++i) {
    const auto end = next + static_cast<std::ptrdiff_t>(size + (i < longer ? 1 : 0));
    std::vector<Value> part(next, end);
    if (!fill.is_undefined() && !fill.is_none() && longer > 0 && i >= longer) part.push_back(fill);
    parts.push_back(make_list(std::move(part)));
    next = end;
  }
  return make_list(std::move(parts));
}

Result<Value> groupby(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  COHORT_TRY(const ListPtr list, iterate(self));
  const Value &path = arguments.positional[0], &absent = arguments.positional[1];
  std::vector<Keyed> rows;
  for (const Value& item : list->items) {
    COHORT_TRY(const Value group, attribute_at(item, path, absent));
    COHORT_TRY(Value sorted_by, sort_key(interpreter, group, flag_argument(arguments, 2, false)));
    rows.push_back({std::move(sorted_by), make_list({group, item}, List::kTuple)});
  }
  COHORT_TRY_VOID(sort_rows(interpreter, rows, false));
  std::vector<Value> groups, members;
  for (size_t i = 0; i < rows.size(); ++i) {
    members.push_back(rows[i].item.list()->items[1]);
    if (i + 1 < rows.size() && equals(rows[i].key, rows[i + 1].key, interpreter.work())) continue;
    const Value& name = rows[i + 1 - members.size()].item.list()->items[0];
    groups.push_back(make_list({name, make_list(std::exchange(members, {}))}, List::kGroup));
  }
  return make_list(std::move(groups));
}

Result<Value> default_value(Interpreter&, const Value& self, Arguments& arguments) {
  const bool replace =
      self.is_undefined() || (flag_argument(arguments, 1, false) && !is_true(self));
  if (!replace) return self;
  return arguments.positional[0].is_undefined() ? text_value("") : arguments.positional[0];
}

Result<Value> attribute(Interpreter& interpreter, const Value& self, Arguments& arguments) {
  COHORT_TRY(const Text* name, text_argument(arguments, 0));
  if (self.dict()) return Value();  // attributes only, as in Jinja
  return get_attribute(self, interpreter.own_name(name->bytes()));
}

constexpr Native kFilters[] = {
    {"length", "", length},
    {"count", "", length},
    {"first", "", first},
    {"last", "", last},
    {"list", "", as_list},
    {"reverse", "", reverse},
    {"join", "d? attribute?", join},
    {"items", "", items},
    {"sort", "reverse? case_sensitive? attribute?", sort},
    {"dictsort", "case_sensitive? by? reverse?", dictsort},
    {"unique", "case_sensitive? attribute?", unique},
    {"min", "case_sensitive? attribute?", smallest},
    {"max", "case_sensitive? attribute?", largest},
    {"sum", "attribute? start?", sum},
    {"batch", "linecount fill_with?", batch},
    {"slice", "slices fill_with?", slice},
    {"groupby", "attribute default? case_sensitive?", groupby},
    {"default", "default_value? boolean?", default_value},
    {"d", "default_value? boolean?", default_value},
    {"attr", "name", attribute},
};

}  // namespace

Result<Value> attribute_at(const Value& item, const Value& path, const Value& absent) {
  const Text* text = path.text();
  if (!text) return get_item(item, path);
  Value value = item;
  for (const Text& part : split(*text, ".", -1, Side::kLeft)) {
    const std::string& name = part.bytes();
    const bool is_index =
        !name.empty() && name.size() < 10 && name.find_first_not_of("0123456789") == name.npos;
    COHORT_TRY(value, get_item(value, is_index ? Value(int64_t{std::stol(name)}) : Value(part)));
    if (value.is_undefined()) value = absent;
  }
  return value;
}

std::span<const Native> sequence_filters() { return kFilters; }

}  // namespace cohort::text::jinja
