// The tables behind find_filter.
#pragma once

#include <span>

#include "text/jinja/builtins.h"

namespace cohort::text::jinja {

std::span<const Native> text_filters();
std::span<const Native> number_filters();
std::span<const Native> sequence_filters();
std::span<const Native>
selection_filters();  // those that apply another filter or test to each item

// Value at a dotted path ("function.name", "0.id"; or an integer) below `item`; undefined when its last part is missing. A part
// that is missing becomes `absent`, unless that is undefined.
Result<Value> attribute_at(const Value& item, const Value& path, const Value& absent = Value());

}  // namespace cohort::text::jinja
