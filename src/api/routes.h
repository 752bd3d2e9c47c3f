#pragma once

#include <chrono>

#include "api/answer.h"
#include "api/router.h"
#include "node/node.h"

namespace cohort::api {

struct ExoOptions {
  node::ModelCatalog catalog;
  std::chrono::milliseconds keep_alive{10'000};
};

// Each adds its routes; the node outlives the router.
void add_openai_routes(Router& router, node::Node& node, AnswerOptions options);  // /v1/...
void add_cohort_routes(Router& router, node::Node& node);                         // /cohort/...
void add_event_routes(Router& router, node::Node& node,
                      std::chrono::milliseconds keep_alive);  // /cohort/events
void add_exo_routes(
    Router& router, node::Node& node,
    ExoOptions options);  // /state, /events, /node_id, /instance..., /place_instance
void add_probe_routes(Router& router, node::Node& node);  // /healthz, /readyz, /metrics

}  // namespace cohort::api
