#pragma once

#include "api/answer.h"
#include "api/router.h"
#include "node/node.h"

namespace cohort::api {

// Each adds its routes; the node outlives the router.
void add_openai_routes(Router& router, node::Node& node, AnswerOptions options);  // /v1/...
void add_cohort_routes(Router& router, node::Node& node);                         // /cohort/...
void add_probe_routes(Router& router, node::Node& node);  // /healthz, /readyz, /metrics

}  // namespace cohort::api
