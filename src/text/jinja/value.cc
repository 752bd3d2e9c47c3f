#include "text/jinja/value.h"

#include <algorithm>

#include "text/jinja/unicode.h"

namespace cohort::text::jinja {
namespace {

constexpr size_t kIndexFrom = 8;  // entries; below that a scan is as fast

int three_way(double a, double b) { return a < b ? -1 : a > b ? 1 : 0; }
int three_way(int64_t a, int64_t b) { return a < b ? -1 : a > b ? 1 : 0; }

bool equal_texts(const Text& a, const Text& b, Work& work) {
  return a.size() == b.size() && work.spend(a.size()) && a.bytes() == b.bytes();
}

bool equal_lists(const List& a, const List& b, Work& work) {
  const bool same_type = (a.kind == List::kList) == (b.kind == List::kList);
  return same_type &&
         std::equal(a.items.begin(), a.items.end(), b.items.begin(), b.items.end(),
                    [&](const Value& x, const Value& y) { return equals(x, y, work); });
}

bool equal_dicts(const Dict& a, const Dict& b, Work& work) {
  if (a.entries.size() != b.entries.size()) return false;
  return std::all_of(a.entries.begin(), a.entries.end(), [&](const auto& entry) {
    const Value* other = b.find(entry.first);
    return other && equals(entry.second, *other, work);
  });
}

Result<int> compare_lists(const List& a, const List& b, Work& work) {
  const size_t shared = std::min(a.items.size(), b.items.size());
  for (size_t i = 0; i < shared; ++i) {
    if (equals(a.items[i], b.items[i], work)) continue;
    return compare(a.items[i], b.items[i], work);
  }
  return three_way(static_cast<int64_t>(a.items.size()), static_cast<int64_t>(b.items.size()));
}

// Keys are plain values: text is looked up otherwise.
bool equal_keys(const Value& a, const Value& b) {
  if (a.number() && b.number()) return *a.number() == *b.number();
  return a.is_none() && b.is_none();
}

ListPtr characters(const Text& text) {
  auto list = std::make_shared<List>();
  const std::vector<size_t> offsets = code_point_offsets(text.bytes());
  list->items.reserve(offsets.size());
  for (size_t i = 0; i + 1 < offsets.size(); ++i) {
    list->items.emplace_back(text.slice(offsets[i], offsets[i + 1]));
  }
  return list;
}

}  // namespace

Value::Value(Callable callable) : data_(std::make_shared<const Callable>(std::move(callable))) {}

std::optional<int64_t> Value::integer() const {
  if (const int64_t* value = as<int64_t>()) return *value;
  if (const bool* value = as<bool>()) return *value ? 1 : 0;
  return std::nullopt;
}

std::optional<double> Value::number() const {
  if (const double* value = as<double>()) return *value;
  if (const auto value = integer()) return static_cast<double>(*value);
  return std::nullopt;
}

const Value* Dict::find(std::string_view key) const {
  if (!by_text.empty()) {
    const auto found = by_text.find(key);
    return found == by_text.end() ? nullptr : &entries[found->second].second;
  }
  for (const auto& [name, value] : entries) {
    const Text* text = name.text();
    if (text && text->bytes() == key) return &value;
  }
  return nullptr;
}

const Value* Dict::find(const Value& key) const {
  if (const Text* text = key.text()) return find(text->bytes());
  for (const auto& [name, value] : entries) {
    if (equal_keys(name, key)) return &value;
  }
  return nullptr;
}

Value* Namespace::find(std::string_view name) {
  for (auto& [key, value] : attributes) {
    if (*key == name) return &value;
  }
  return nullptr;
}

Value make_list(std::vector<Value> items, int kind) {
  auto list = std::make_shared<List>();
  for (const Value& item : items) list->depth = std::max(list->depth, 1 + nesting(item));
  list->items = std::move(items);
  list->kind = kind;
  Value value;
  value.data_ = ListPtr(std::move(list));
  return value;
}

Value make_dict(std::vector<std::pair<Value, Value>> entries) {
  auto dict = std::make_shared<Dict>();
  const bool indexed = entries.size() >= kIndexFrom;
  dict->entries.reserve(entries.size());
  for (auto& [key, value] : entries) {
    dict->depth = std::max({dict->depth, 1 + nesting(value), 1 + nesting(key)});
    if (const Value* known = dict->find(key)) {
      const_cast<Value&>(*known) = std::move(value);  // ours until it is returned
      continue;
    }
    dict->entries.emplace_back(std::move(key), std::move(value));
    const Text* text = dict->entries.back().first.text();
    if (indexed && text) dict->by_text.emplace(text->bytes(), dict->entries.size() - 1);
  }
  Value value;
  value.data_ = DictPtr(std::move(dict));
  return value;
}

Value text_value(std::string_view trusted_text) { return Value(Text(std::string(trusted_text))); }

std::string_view type_name(const Value& value) {
  if (value.is_undefined()) return "Undefined";
  if (value.is_none()) return "NoneType";
  if (value.as<bool>()) return "bool";
  if (value.as<int64_t>()) return "int";
  if (value.as<double>()) return "float";
  if (value.text()) return "str";
  if (value.dict()) return "dict";
  if (value.name_space()) return "Namespace";
  if (value.loop()) return "LoopContext";
  if (const List* list = value.list()) return list->kind == List::kList ? "list" : "tuple";
  return "function";
}

bool is_true(const Value& value) {
  if (value.is_undefined() || value.is_none()) return false;
  if (const Text* text = value.text()) return !text->empty();
  if (const List* list = value.list()) return !list->items.empty();
  if (const Dict* dict = value.dict()) return !dict->entries.empty();
  if (const auto number = value.number()) return *number != 0;
  return true;
}

bool equals(const Value& a, const Value& b, Work& work) {
  if (a.text() && b.text()) return equal_texts(*a.text(), *b.text(), work);
  if (a.integer() && b.integer()) return *a.integer() == *b.integer();
  if (a.number() && b.number()) return *a.number() == *b.number();
  if (a.list() && b.list()) return equal_lists(*a.list(), *b.list(), work);
  if (a.dict() && b.dict()) return equal_dicts(*a.dict(), *b.dict(), work);
  if (a.name_space() || b.name_space()) return a.name_space() == b.name_space();
  if (a.callable() || b.callable()) return a.callable() == b.callable();
  if (a.loop() || b.loop()) return a.loop() == b.loop();
  return (a.is_none() && b.is_none()) || (a.is_undefined() && b.is_undefined());
}

Result<int> compare(const Value& a, const Value& b, Work& work) {
  if (a.text() && b.text()) {
    work.spend(std::min(a.text()->size(), b.text()->size()));
    return work.exhausted ? 0 : a.text()->bytes().compare(b.text()->bytes());
  }
  if (a.integer() && b.integer()) return three_way(*a.integer(), *b.integer());
  if (a.number() && b.number()) return three_way(*a.number(), *b.number());
  if (a.list() && b.list()) return compare_lists(*a.list(), *b.list(), work);
  return fail(Code::kInvalidArgument, "cannot order '{}' and '{}'", type_name(a), type_name(b));
}

Result<ListPtr> iterate(const Value& value) {
  if (const ListPtr* list = value.as<ListPtr>()) return *list;
  if (const Text* text = value.text()) {
    if (text->size() <= kMaxListItems) return characters(*text);
    return fail(Code::kTooLarge, "iterating over a text of {} bytes; the limit is {}", text->size(),
                kMaxListItems);
  }
  auto items = std::make_shared<List>();
  if (value.is_undefined()) return items;
  const Dict* dict = value.dict();
  if (!dict) return fail(Code::kInvalidArgument, "'{}' object is not iterable", type_name(value));
  for (const auto& entry : dict->entries) items->items.push_back(entry.first);
  return items;
}

int nesting(const Value& value) {
  if (const List* list = value.list()) return list->depth;
  if (const Dict* dict = value.dict()) return dict->depth;
  return 0;
}

}  // namespace cohort::text::jinja
