// Names for the fake runner: every name but "unknown..." is a model, and its source is the name up to a ':'.
#pragma once

#include <string>

#include "node/model_catalog.h"

namespace cohort::node::testing {

inline ModelCatalog fake_catalog() {
  ModelCatalog catalog;
  catalog.resolve = [](const std::string& name, std::stop_token) -> Result<ModelLocation> {
    if (name.starts_with("unknown")) return fail(Code::kNotFound, "there is no model '{}'", name);
    if (name == "huge")
      return ModelLocation{.name = "huge", .source = "echo", .weight_bytes = 1ull << 60};
    if (name == "echo-alias") return ModelLocation{.name = "echo", .source = "echo"};
    return ModelLocation{.name = name, .source = name.substr(0, name.find(':'))};
  };
  catalog.list = [] {
    return std::vector<ModelListing>{{.name = "echo", .created_unix_seconds = 1, .size_bytes = 2}};
  };
  return catalog;
}

}  // namespace cohort::node::testing
