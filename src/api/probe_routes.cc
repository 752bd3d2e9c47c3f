#include <utility>

#include "api/json_reply.h"
#include "api/openai.h"
#include "api/routes.h"

namespace cohort::api {
namespace {

net::Task<void> healthy(net::ResponseWriter& writer) {
  const Json reply{{"status", "ok"}};
  net::HttpResponse response = json_reply(reply);
  co_await writer.send(std::move(response));
}

net::Task<void> ready(node::Node& node, net::ResponseWriter& writer) {
  const auto proof = co_await node.prove_ready();
  net::HttpResponse response;
  if (proof) {
    response = json_reply(Json{{"status", "ready"}});
  } else {
    const Error error{Code::kUnavailable, proof.error().message};
    response = openai_error_response(error);
  }
  co_await writer.send(std::move(response));
}

// Escapes a label's value for Prometheus' text format.
std::string label(std::string_view value) {
  std::string out;
  for (const char c : value) {
    if (c == '\\' || c == '"') out += '\\';
    out += c == '\n' ? ' ' : c;
  }
  return out;
}

struct Metric {
  std::string_view name, type, help;
  double (*value)(const node::InstanceStatus&);
};

constexpr Metric kInstanceMetrics[] = {
    {"cohort_requests", "gauge", "Requests that run or wait.",
     [](const auto& i) { return static_cast<double>(i.shard.requests); }},
    {"cohort_running_sequences", "gauge", "Sequences in the batch.",
     [](const auto& i) { return static_cast<double>(i.shard.running); }},
    {"cohort_queued_sequences", "gauge", "Sequences that wait for a place in the batch.",
     [](const auto& i) { return static_cast<double>(i.shard.queued); }},
    {"cohort_prompt_tokens_total", "counter", "Prompt tokens, of the present runner.",
     [](const auto& i) { return static_cast<double>(i.shard.prompt_tokens); }},
    {"cohort_cached_tokens_total", "counter", "Prompt tokens found in the cache.",
     [](const auto& i) { return static_cast<double>(i.shard.cached_tokens); }},
    {"cohort_generated_tokens_total", "counter", "Tokens generated.",
     [](const auto& i) { return static_cast<double>(i.shard.generated_tokens); }},
    {"cohort_kv_pages_used", "gauge", "Pages of the KV cache that sequences hold.",
     [](const auto& i) { return static_cast<double>(i.shard.kv_pages_used); }},
    {"cohort_kv_pages", "gauge", "Pages of the KV cache.",
     [](const auto& i) { return static_cast<double>(i.shard.kv_pages_total); }},
    {"cohort_runner_rss_bytes", "gauge", "Resident memory of the runner.",
     [](const auto& i) { return static_cast<double>(i.shard.rss_bytes); }},
    {"cohort_runner_restarts_total", "counter", "Times a crashed runner was replaced.",
     [](const auto& i) { return static_cast<double>(i.heals); }},
    {"cohort_decode_tokens_per_second", "gauge", "Speed of one stream over the last answers.",
     [](const auto& i) { return i.shard.decode_tokens_per_s; }},
};

std::string metrics_text(const node::Node& node) {
  std::string text = fmt::format(
      "# HELP cohort_daemon_rss_bytes Resident memory of the daemon.\n# TYPE "
      "cohort_daemon_rss_bytes gauge\n"
      "cohort_daemon_rss_bytes {}\n",
      node::own_rss_bytes());
  const auto instances = node.instances();
  for (const Metric& metric : kInstanceMetrics) {
    text += fmt::format("# HELP {} {}\n# TYPE {} {}\n", metric.name, metric.help, metric.name,
                        metric.type);
    for (const auto& instance : instances) {
      text += fmt::format("{}{{model=\"{}\",instance=\"{}\"}} {}\n", metric.name,
                          label(instance.model), instance.id, metric.value(instance));
    }
  }
  return text;
}

net::Task<void> metrics(node::Node& node, net::ResponseWriter& writer) {
  net::HttpResponse response;
  response.headers.push_back({"Content-Type", "text/plain; version=0.0.4; charset=utf-8"});
  response.body = metrics_text(node);
  co_await writer.send(std::move(response));
}

}  // namespace

void add_probe_routes(Router& router, node::Node& node) {
  router.add("GET", "/healthz", [](net::HttpRequest, std::string, net::ResponseWriter& writer) {
    return healthy(writer);
  });
  router.add("GET", "/readyz", [&node](net::HttpRequest, std::string, net::ResponseWriter& writer) {
    return ready(node, writer);
  });
  router.add("GET", "/metrics",
             [&node](net::HttpRequest, std::string, net::ResponseWriter& writer) {
               return metrics(node, writer);
             });
}

}  // namespace cohort::api
