// Names for the fake runner: every name but "unknown..." is a model, and its source is the name up to a ':'.
#pragma once

#include <string>

#include "node/model_catalog.h"

namespace cohort::node::testing {

inline ModelLocation fake_location(std::string name, std::string source,
                                   uint64_t layer_bytes = 1000) {
  ModelLocation location{.name = std::move(name), .source = std::move(source)};
  location.cost = {
      .name = location.name, .width = 64, .heads = 4, .kv_heads = 4, .max_positions = 4096};
  location.cost.layers.assign(4, {layer_bytes, layer_bytes, 1000, 16});
  return location;
}

inline ModelCatalog fake_catalog() {
  ModelCatalog catalog;
  catalog.resolve = [](const std::string& name, std::stop_token) -> Result<ModelLocation> {
    if (name.starts_with("unknown")) return fail(Code::kNotFound, "there is no model '{}'", name);
    if (name == "huge") return fake_location("huge", "echo", 1ull << 58);
    if (name == "echo-alias") return fake_location("echo", "echo");
    return fake_location(name, name.substr(0, name.find(':')));
  };
  catalog.list = [] {
    return std::vector<ModelListing>{{.name = "echo", .created_unix_seconds = 1, .size_bytes = 2}};
  };
  return catalog;
}

}  // namespace cohort::node::testing
