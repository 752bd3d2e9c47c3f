// What template expressions evaluate to: Python's values, immutable but for namespaces and loop counters.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "base/result.h"
#include "text/jinja/text.h"

namespace cohort::text::jinja {

class Interpreter;
class Value;
struct List;
struct Dict;
struct Namespace;
struct Loop;
struct Callable;

// How many bytes of text may still be read or built.
struct Work {
  size_t bytes_left;
  bool exhausted = false;

  // False when it is more than what is left.
  bool spend(size_t size_bytes) {
    exhausted = exhausted || size_bytes > bytes_left;
    bytes_left = exhausted ? 0 : bytes_left - size_bytes;
    return !exhausted;
  }
};

struct Undefined {
  const std::string* name =
      nullptr;  // what was looked up, for error messages; owned by the template
};
struct None {};

// Shared pointers: values are immutable, so copies may share. (Namespaces are mutable by design and may form cycles,
// which the interpreter cuts when it ends.)
using TextPtr = std::shared_ptr<const Text>;
using ListPtr = std::shared_ptr<const List>;
using DictPtr = std::shared_ptr<const Dict>;
using NamespacePtr = std::shared_ptr<Namespace>;
using LoopPtr = std::shared_ptr<Loop>;
using CallablePtr = std::shared_ptr<const Callable>;

class Value {
 public:
  Value() = default;  // undefined
  explicit Value(Undefined undefined) : data_(undefined) {}
  explicit Value(None none) : data_(none) {}
  explicit Value(bool value) : data_(value) {}
  explicit Value(int64_t value) : data_(value) {}
  explicit Value(double value) : data_(value) {}
  explicit Value(Text text) : data_(std::make_shared<const Text>(std::move(text))) {}
  explicit Value(NamespacePtr value) : data_(std::move(value)) {}
  explicit Value(LoopPtr value) : data_(std::move(value)) {}
  explicit Value(Callable callable);
  template <class T>
  explicit Value(T*) = delete;  // a pointer must not turn into a bool

  template <class T>
  const T* as() const {
    return std::get_if<T>(&data_);
  }
  bool is_undefined() const { return as<Undefined>() != nullptr; }
  bool is_none() const { return as<None>() != nullptr; }
  // Null unless the value is of that type.
  const Text* text() const { return pointer<TextPtr>(); }
  const List* list() const { return pointer<ListPtr>(); }
  const Dict* dict() const { return pointer<DictPtr>(); }
  const Callable* callable() const { return pointer<CallablePtr>(); }
  Namespace* name_space() const { return pointer<NamespacePtr>(); }
  Loop* loop() const { return pointer<LoopPtr>(); }
  // bool counts as 0 or 1, as in Python.
  std::optional<int64_t> integer() const;
  std::optional<double> number() const;

 private:
  friend Value make_list(std::vector<Value> items, int kind);
  friend Value make_dict(std::vector<std::pair<Value, Value>> entries);
  template <class Pointer>
  typename Pointer::element_type* pointer() const {
    const Pointer* held = as<Pointer>();
    return held ? held->get() : nullptr;
  }

  std::variant<Undefined, None, bool, int64_t, double, TextPtr, ListPtr, DictPtr, NamespacePtr,
               LoopPtr, CallablePtr>
      data_;
};

struct List {
  enum Kind : int { kList, kTuple, kGroup };  // kGroup: (grouper, list), whose parts have names
  std::vector<Value> items;
  int kind = kList;
  int depth = 1;  // of nested lists and dicts, this one included
};

// In order of insertion; keys are unique.
struct Dict {
  std::vector<std::pair<Value, Value>> entries;
  int depth = 1;
  std::unordered_map<std::string_view, size_t> by_text;  // text keys, where there are many

  const Value* find(const Value& key) const;
  const Value* find(std::string_view key) const;
};

struct Namespace {
  std::vector<std::pair<const std::string*, Value>> attributes;
  Value* find(std::string_view name);
};

struct Loop {
  ListPtr items;
  size_t index = 0;
  std::optional<Value> changed;  // what loop.changed() saw last
};

// Named arguments follow positional ones.
struct Arguments {
  std::vector<Value> positional;
  std::vector<std::pair<std::string, Value>> named;
};

struct Callable {
  std::string name;
  std::function<Result<Value>(Interpreter&, Arguments)> call;
};

Value make_list(std::vector<Value> items, int kind = List::kList);
Value make_dict(std::vector<std::pair<Value, Value>>
                    entries);  // a later entry replaces an earlier one of the same key
Value text_value(std::string_view trusted_text);
inline constexpr size_t kMaxListItems =
    1'000'000;  // of lists made by operators, split() and the like

std::string_view type_name(const Value& value);  // Python's: "str", "dict", "NoneType"...
bool is_true(const Value& value);
// Provenance does not matter. What reading the texts costs is taken from `work`; when none is left the answer is void.
bool equals(const Value& a, const Value& b, Work& work);
// Negative, zero or positive; numbers, strings and sequences only, else kInvalidArgument.
Result<int> compare(const Value& a, const Value& b, Work& work);
// Items of a sequence, characters of a string (kTooLarge over kMaxListItems bytes), keys of a dict, nothing of undefined;
// else kInvalidArgument.
Result<ListPtr> iterate(const Value& value);
int nesting(const Value& value);  // 0 for plain values

}  // namespace cohort::text::jinja
