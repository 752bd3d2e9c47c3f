#include "text/jinja/builtins.h"

#include <algorithm>

#include "text/jinja/filters.h"

namespace cohort::text::jinja {

const Native* find_filter(std::string_view name) {
  for (const auto table :
       {text_filters(), number_filters(), sequence_filters(), selection_filters()}) {
    const auto found = std::find_if(table.begin(), table.end(),
                                    [&](const Native& row) { return row.name == name; });
    if (found != table.end()) return &*found;
  }
  return nullptr;
}

}  // namespace cohort::text::jinja
