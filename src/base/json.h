// JSON for structs that list their fields once:
//
//   struct Foo {
//     int32_t size = 0;
//     std::optional<std::string> name;
//     template <class Visitor> void fields(Visitor& visit) { visit("size", size); visit("name", name); }
//   };
//   Result<Foo> foo = from_json<Foo>(value);     // an absent or null key keeps the default
//   Result<Foo> foo = read_json<Foo>(text);
//   Json value = to_json(foo);
//
// A wrong type is an error that names the path: "messages[2].content: expected a string, got a number". Unknown keys
// are ignored. Ranges of integers are checked. nlohmann-json is included by this header, so include it in .cc files only
// (<nlohmann/json_fwd.hpp> does for declarations).
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <type_traits>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/result.h"

namespace cohort {

using Json = nlohmann::ordered_json;

inline constexpr int kMaxJsonDepth = 64;
inline constexpr size_t kMaxJsonValues =
    4u << 20;  // a parsed value takes some ten times a short text's room

// Parses text of bounded depth and number of values; never throws. kInvalidArgument names the byte where it went wrong.
Result<Json> parse_json(std::string_view text, int max_depth = kMaxJsonDepth);

// Compact text; bytes that are not UTF-8 become U+FFFD.
std::string dump_json(const Json& value);

namespace json_detail {

template <class T>
struct is_vector : std::false_type {};
template <class T>
struct is_vector<std::vector<T>> : std::true_type {};
template <class T>
struct is_optional : std::false_type {};
template <class T>
struct is_optional<std::optional<T>> : std::true_type {};
template <class T>
struct is_map : std::false_type {};
template <class K, class V>
struct is_map<std::map<K, V>> : std::true_type {};

tl::unexpected<Error> type_error(const std::string& path, std::string_view wanted, const Json& got);

template <class T>
Result<void> read(const Json& value, const std::string& path, T& out);

template <class T>
Result<void> read_integer(const Json& value, const std::string& path, T& out) {
  if (value.is_number_float()) {
    const double number = value.get<double>();
    if (number != std::trunc(number) || std::abs(number) > 0x1p53) {
      return type_error(path, "an integer", value);
    }
    if (std::is_unsigned_v<T> && number < 0) return type_error(path, "an integer from 0", value);
    if (number < static_cast<double>(std::numeric_limits<T>::min()) ||
        number > static_cast<double>(std::numeric_limits<T>::max())) {
      return type_error(path, "a smaller integer", value);
    }
    out = static_cast<T>(number);
    return {};
  }
  if (!value.is_number_integer()) return type_error(path, "an integer", value);
  const bool fits = value.is_number_unsigned() ? std::in_range<T>(value.get<uint64_t>())
                                               : std::in_range<T>(value.get<int64_t>());
  if (!fits) return type_error(path, "an integer in range", value);
  out = static_cast<T>(value.is_number_unsigned() ? value.get<uint64_t>()
                                                  : static_cast<uint64_t>(value.get<int64_t>()));
  return {};
}

template <class T>
Result<void> read_map(const Json& value, const std::string& path, T& out) {
  using Key = typename T::key_type;
  if (!value.is_object()) return type_error(path, "an object", value);
  out.clear();
  for (const auto& [name, item] : value.items()) {
    Key key{};
    if constexpr (std::is_integral_v<Key>) {
      const Json number = Json::parse(name, nullptr, false);
      if (number.is_discarded())
        return type_error(path + "." + name, "a number as key", Json(name));
      COHORT_TRY_VOID(read_integer(number, path + "." + name, key));
    } else {
      key = name;
    }
    COHORT_TRY_VOID(read(item, path + "." + name, out[key]));
  }
  return {};
}

struct FieldReader {
  const Json& object;
  const std::string& path;
  Result<void> status;

  template <class T>
  void operator()(const char* name, T& field) {
    if (!status) return;
    const auto found = object.find(name);
    if (found == object.end() || found->is_null()) return;
    status = read(*found, path.empty() ? std::string(name) : path + "." + name, field);
  }
};

template <class T>
Result<void> read(const Json& value, const std::string& path, T& out) {
  if constexpr (std::is_same_v<T, Json>) {
    out = value;
  } else if constexpr (std::is_same_v<T, bool>) {
    if (!value.is_boolean()) return type_error(path, "true or false", value);
    out = value.get<bool>();
  } else if constexpr (std::is_integral_v<T>) {
    return read_integer(value, path, out);
  } else if constexpr (std::is_floating_point_v<T>) {
    if (!value.is_number()) return type_error(path, "a number", value);
    out = value.get<T>();
  } else if constexpr (std::is_same_v<T, std::string>) {
    if (!value.is_string()) return type_error(path, "a string", value);
    out = value.get<std::string>();
  } else if constexpr (is_optional<T>::value) {
    if (value.is_null()) {
      out.reset();
      return {};
    }
    return read(value, path, out.emplace());
  } else if constexpr (is_vector<T>::value) {
    if (!value.is_array()) return type_error(path, "an array", value);
    out.clear();
    out.reserve(value.size());
    for (size_t i = 0; i < value.size(); ++i) {
      typename T::value_type item{};
      COHORT_TRY_VOID(read(value[i], path + "[" + std::to_string(i) + "]", item));
      out.push_back(std::move(item));
    }
  } else if constexpr (is_map<T>::value) {
    return read_map(value, path, out);
  } else {
    if (!value.is_object()) return type_error(path, "an object", value);
    FieldReader reader{value, path, {}};
    out.fields(reader);
    return reader.status;
  }
  return {};
}

template <class T>
Json write(const T& value);

struct FieldWriter {
  Json& object;
  template <class T>
  void operator()(const char* name, const T& field) {
    if constexpr (is_optional<T>::value) {
      if (!field) return;
      object[name] = write(*field);
    } else {
      object[name] = write(field);
    }
  }
};

template <class T>
Json write(const T& value) {
  if constexpr (std::is_same_v<T, Json> || std::is_arithmetic_v<T> ||
                std::is_same_v<T, std::string>) {
    return Json(value);
  } else if constexpr (is_optional<T>::value) {
    return value ? write(*value) : Json(nullptr);
  } else if constexpr (is_vector<T>::value) {
    Json array = Json::array();
    for (const auto& item : value) array.push_back(write(item));
    return array;
  } else if constexpr (is_map<T>::value) {
    Json object = Json::object();
    for (const auto& [key, item] : value) {
      if constexpr (std::is_integral_v<std::decay_t<decltype(key)>>) {
        object[std::to_string(key)] = write(item);
      } else {
        object[key] = write(item);
      }
    }
    return object;
  } else {
    Json object = Json::object();
    FieldWriter writer{object};
    const_cast<T&>(value).fields(
        writer);  // fields() only hands out references; the writer takes them const
    return object;
  }
}

}  // namespace json_detail

template <class T>
Result<T> from_json(const Json& value, const std::string& path = "") {
  T out{};
  COHORT_TRY_VOID(json_detail::read(value, path, out));
  return out;
}

// Text straight to a struct.
template <class T>
Result<T> read_json(std::string_view text, int max_depth = kMaxJsonDepth) {
  COHORT_TRY(const Json json, parse_json(text, max_depth));
  return from_json<T>(json);
}

template <class T>
Json to_json(const T& value) {
  return json_detail::write(value);
}

}  // namespace cohort
