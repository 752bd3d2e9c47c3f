// What the command line and the dashboard use. Scripts rely on these shapes: fields are added, never changed.
#include <utility>

#include "api/json_reply.h"
#include "api/openai.h"
#include "api/routes.h"

namespace cohort::api {
namespace {

struct PlaceBody {
  std::string model;
  int32_t context = 0;
  int32_t concurrency = 0;
  bool wait = false;
  template <class Visitor>
  void fields(Visitor& visit) {
    visit("model", model);
    visit("context", context);
    visit("concurrency", concurrency);
    visit("wait", wait);
  }
};

Json instance_json(const node::InstanceStatus& instance, const std::string& device_id) {
  const Json member{{"device", device_id},
                    {"rank", 0},
                    {"first_layer", 0},
                    {"last_layer", instance.progress.total_layers},
                    {"fraction", 1.0}};
  Json out{{"instance", instance.id},
           {"model", instance.model},
           {"state", node::state_name(instance.state)}};
  out["sharding"] = "single";
  out["members"] = Json::array({member});
  out["predicted_decode_tokens_per_s"] = nullptr;  // one device: nothing was planned
  out["achieved_decode_tokens_per_s"] =
      instance.decode_tokens_per_s > 0 ? Json(instance.decode_tokens_per_s) : Json(nullptr);
  out["heals"] = instance.heals;
  out["reason"] = instance.reason.empty() ? Json(nullptr) : Json(instance.reason);
  out["requests"] = instance.requests;
  out["runner_pid"] = instance.runner_pid;
  out["weight_bytes"] = instance.weight_bytes;
  out.update(to_json(instance.progress));
  if (instance.ready) out.update(to_json(*instance.ready));
  Json stats = to_json(instance.stats);
  if (instance.stats.rss_bytes == 0)
    stats.erase("rss_bytes");  // none came yet; what it said when ready stands
  out.update(stats);
  return out;
}

Json device_json(const node::DeviceStatus& device) {
  return Json{{"id", device.id},
              {"name", device.name},
              {"self", true},
              {"leader", true},
              {"state", "alive"},
              {"memory_total_bytes", device.memory.total_bytes},
              {"memory_available_bytes", device.memory.available_bytes},
              {"read_gb_per_s", nullptr},
              {"backends", Json::array({"cpu"})},
              {"links", Json::array()},
              {"daemon_rss_bytes", device.rss_bytes}};
}

net::Task<void> list_instances(node::Node& node, net::ResponseWriter& writer) {
  Json reply = Json::array();
  for (const auto& instance : node.instances())
    reply.push_back(instance_json(instance, node.device_id()));
  net::HttpResponse response = json_reply(reply);
  co_await writer.send(std::move(response));
}

net::Task<void> list_devices(node::Node& node, net::ResponseWriter& writer) {
  Json reply = Json::array();
  for (const auto& device : node.devices()) reply.push_back(device_json(device));
  net::HttpResponse response = json_reply(reply);
  co_await writer.send(std::move(response));
}

net::Task<void> place(node::Node& node, net::HttpRequest request, net::ResponseWriter& writer) {
  const auto json = co_await parse_body(node, std::move(request.body));
  auto body = json ? from_json<PlaceBody>(*json) : Result<PlaceBody>(tl::unexpected(json.error()));
  if (body && body->model.empty())
    body = fail(Code::kUnprocessable, "model: expected the name of a model");
  if (body && (body->context < 0 || body->concurrency < 0)) {
    body = fail(Code::kUnprocessable, "context: expected no negative number, nor for concurrency");
  }
  if (!body) {
    net::HttpResponse response = openai_error_response(body.error());
    co_await writer.send(std::move(response));
    co_return;
  }
  node::PlaceWish wish;
  wish.model = body->model;
  wish.context_length = body->context;
  wish.concurrency = body->concurrency;
  const auto placed = co_await node.place(std::move(wish), body->wait);
  const int status = placed && placed->state == node::InstanceState::kReady ? 200 : 202;
  auto response = placed ? json_reply(instance_json(*placed, node.device_id()), status)
                         : openai_error_response(placed.error());
  co_await writer.send(std::move(response));
}

net::Task<void> stop(node::Node& node, std::string name, net::ResponseWriter& writer) {
  const auto stopped = co_await node.stop(std::move(name));
  auto response = stopped ? json_reply(Json{{"stopped", *stopped}, {"count", stopped->size()}})
                          : openai_error_response(stopped.error());
  co_await writer.send(std::move(response));
}

}  // namespace

void add_cohort_routes(Router& router, node::Node& node) {
  router.add("GET", "/cohort/instances",
             [&node](net::HttpRequest, std::string, net::ResponseWriter& writer) {
               return list_instances(node, writer);
             });
  router.add("POST", "/cohort/instances",
             [&node](net::HttpRequest request, std::string, net::ResponseWriter& writer) {
               return place(node, std::move(request), writer);
             });
  router.add("DELETE", "/cohort/instances/*",
             [&node](net::HttpRequest, std::string name, net::ResponseWriter& writer) {
               return stop(node, std::move(name), writer);
             });
  router.add("GET", "/cohort/devices",
             [&node](net::HttpRequest, std::string, net::ResponseWriter& writer) {
               return list_devices(node, writer);
             });
}

}  // namespace cohort::api
