#include <algorithm>
#include <cstdlib>
#include <memory>
#include <optional>
#include <utility>

#include "api/answer.h"
#include "api/event_stream.h"
#include "api/exo.h"
#include "api/json_reply.h"
#include "api/routes.h"
#include "base/clock.h"

namespace cohort::api {
namespace {

using std::chrono::milliseconds;

constexpr double kMaxAwaitSeconds = 300;
constexpr size_t kMaxPreviewNodes = 16;  // more devices are not previewed

ExoFacts facts_of(const node::Node& node) {
  return {.devices = node.devices(),
          .instances = node.instances(),
          .events = node.cluster().shell().events(),
          .plan = node.cluster().plan(),
          .now_unix_ms = unix_ms()};
}

net::HttpResponse error_reply(const Error& error) {
  const int status = http_status(error.code);
  Json body{{"message", error.message}, {"type", net::reason_phrase(status)}};
  body["param"] = nullptr;
  body["code"] = status;
  return json_reply(Json{{"error", std::move(body)}}, status);
}

net::HttpResponse reply_of(const Result<Json>& result) {
  return result ? json_reply(*result) : error_reply(result.error());
}

// --- one function a route: what it answers

Result<Json> state_at(const node::Node& node, const std::string& path) {
  const Json state = exo_state(facts_of(node));
  if (const Json* part = find_path(state, path)) return *part;
  return fail(Code::kNotFound, "unable to find path '{}' in state json", path);
}

Result<Json> show_instance(const node::Node& node, const std::string& id) {
  const ExoFacts facts = facts_of(node);
  for (const node::InstanceStatus& instance : facts.instances) {
    if (instance.id == id) return exo_instance(facts, instance);
  }
  return fail(Code::kNotFound, "there is no instance '{}'", id);
}

Json received(const std::string& instance) {
  return {{"message", "Command received."},
          {"command_id", exo_id("command/" + instance)},
          {"instance_id", instance}};
}

net::Task<Result<Json>> remove_instance(node::Node& node, std::string id) {
  if (node.cluster().plan().find(id) == nullptr)
    co_return fail(Code::kNotFound, "there is no instance '{}'", id);
  COHORT_CO_TRY_VOID(co_await node.stop(id));
  co_return received(id);
}

// Where a model is and what it costs; downloaded first where that is needed.
net::Task<Result<node::ModelLocation>> look_up(node::Node& node, const node::ModelCatalog& catalog,
                                               std::string model) {
  if (model.empty()) co_return fail(Code::kUnprocessable, "model_id: expected the id of a model");
  node::PlaceWish wish{.model = model};
  COHORT_CO_TRY_VOID(co_await node.plan(std::move(wish)));
  auto work = [resolve = catalog.resolve, name = std::move(model)] { return resolve(name, {}); };
  co_return co_await node.blocking_pool().run(std::move(work));
}

struct Choice {
  cluster::Placement placement;
  cluster::Topology topology;
};

// The best placement of exactly `devices`; 0: of as many as pay. What cannot be is a kInvalidArgument.
Result<Choice> choose(const node::Node& node, const cluster::ModelCost& cost,
                      cluster::InstanceWishes wishes, int32_t devices) {
  wishes.devices = devices;
  Choice choice;
  COHORT_TRY(auto placements, node.cluster().placements(cost, wishes, choice.topology));
  choice.placement = std::move(placements.front());
  if (!choice.placement.error.empty())
    return fail(Code::kInvalidArgument, "{}", choice.placement.error);
  return choice;
}

// EXO takes the fewest devices from `min_nodes` on that will do; of one and more we take what is fastest.
Result<Choice> choose_from(const node::Node& node, const cluster::ModelCost& cost,
                           const cluster::InstanceWishes& wishes, int32_t min_nodes) {
  if (min_nodes <= 1) return choose(node, cost, wishes, wishes.devices);
  Result<Choice> first = choose(node, cost, wishes, min_nodes);
  const auto most = static_cast<int32_t>(node.cluster().devices().size());
  for (int32_t devices = min_nodes + 1; !first && devices <= most; ++devices) {
    Result<Choice> next = choose(node, cost, wishes, devices);
    if (next) return next;
  }
  return first;
}

net::Task<Result<Json>> place(node::Node& node, const node::ModelCatalog& catalog,
                              std::string model, cluster::InstanceWishes wishes,
                              int32_t min_nodes) {
  COHORT_CO_TRY(const node::ModelLocation location, co_await look_up(node, catalog, model));
  COHORT_CO_TRY(const Choice choice, choose_from(node, location.cost, wishes, min_nodes));
  wishes.devices = choice.placement.device_count();
  node::PlaceWish wish{std::move(model), std::move(wishes)};
  COHORT_CO_TRY(const node::InstanceStatus placed, co_await node.place(std::move(wish), false));
  Json reply = received(placed.id);
  reply["model_card"] = exo_card(location.name, location.cost);
  co_return reply;
}

net::Task<Result<Json>> place_order(node::Node& node, const node::ModelCatalog& catalog,
                                    std::string body) {
  COHORT_CO_TRY(const Json json, co_await parse_body(node, std::move(body)));
  COHORT_CO_TRY(ExoOrder order, from_json<ExoOrder>(snake_keys(json)));
  COHORT_CO_TRY(cluster::InstanceWishes wishes, exo_wishes(order));
  co_return co_await place(node, catalog, std::move(order.model_id), std::move(wishes),
                           order.min_nodes);
}

net::Task<Result<Json>> place_instance(node::Node& node, const node::ModelCatalog& catalog,
                                       std::string body) {
  COHORT_CO_TRY(const Json json, co_await parse_body(node, std::move(body)));
  if (!json.is_object() || !json.contains("instance"))
    co_return fail(Code::kUnprocessable, "instance: expected an instance");
  COHORT_CO_TRY(ExoAssignment assignment, exo_assignment(json["instance"]));
  co_return co_await place(node, catalog, std::move(assignment.model_id),
                           std::move(assignment.wishes), 1);
}

Result<double> number_in(const net::HttpRequest& request, const char* name, double fallback) {
  const std::string text = request.query(name);
  if (text.empty()) return fallback;
  char* end = nullptr;  // not from_chars(): libc++ has none for floating point
  const double value = std::strtod(text.c_str(), &end);
  if (end == text.c_str() + text.size()) return value;
  return fail(Code::kUnprocessable, "{}: expected a number, got '{}'", name, text);
}

Result<ExoOrder> order_in(const net::HttpRequest& request) {
  ExoOrder order{.model_id = request.query("model_id")};
  if (const std::string text = request.query("sharding"); !text.empty()) order.sharding = text;
  if (const std::string text = request.query("instance_meta"); !text.empty())
    order.instance_meta = text;
  COHORT_TRY(const double nodes, number_in(request, "min_nodes", 1));
  order.min_nodes = nodes >= 0 && nodes <= kMaxExoNodes ? static_cast<int32_t>(nodes) : 0;
  return order;
}

net::Task<Result<Json>> placement(node::Node& node, const node::ModelCatalog& catalog,
                                  net::HttpRequest request) {
  COHORT_CO_TRY(const ExoOrder order, order_in(request));
  COHORT_CO_TRY(const cluster::InstanceWishes wishes, exo_wishes(order));
  COHORT_CO_TRY(const node::ModelLocation location,
                co_await look_up(node, catalog, order.model_id));
  COHORT_CO_TRY(const Choice choice, choose_from(node, location.cost, wishes, order.min_nodes));
  co_return exo_instance(exo_preview(location.name, choice.placement, choice.topology),
                         location.cost, node.devices());
}

// --- previews

struct Preview {
  const char* sharding;
  const char* meta;
  int32_t devices;
};

Json memory_by_node(const Choice& choice) {
  Json memory = Json::object();
  size_t next = 0;  // predictions are by stage, then member
  for (const cluster::Stage& stage : choice.placement.stages) {
    for (const cluster::StageMember& member : stage.members) {
      const size_t device = static_cast<size_t>(member.device);
      memory[choice.topology.devices[device].id] = choice.placement.prediction.memory_bytes[next++];
    }
  }
  return memory;
}

Json preview_json(const node::Node& node, const node::ModelLocation& location,
                  const Preview& preview, const std::vector<std::string>& only) {
  const ExoOrder order{location.name, preview.sharding, preview.meta, preview.devices};
  Json out{{"model_id", location.name},       {"sharding", preview.sharding},
           {"instance_meta", preview.meta},   {"instance", nullptr},
           {"memory_delta_by_node", nullptr}, {"error", nullptr}};
  auto wishes = exo_wishes(order);
  if (wishes) wishes->only = only;
  const auto choice = wishes ? choose(node, location.cost, *wishes, preview.devices)
                             : Result<Choice>(tl::unexpected(wishes.error()));
  if (!choice) {
    out["error"] = choice.error().message;
    return out;
  }
  const node::InstanceStatus instance =
      exo_preview(location.name, choice->placement, choice->topology);
  out["instance"] = exo_instance(instance, location.cost, node.devices());
  out["memory_delta_by_node"] = memory_by_node(*choice);
  return out;
}

// All values of a query parameter that may come several times.
std::vector<std::string> values_in(const net::HttpRequest& request, std::string_view name) {
  std::vector<std::string> values;
  const size_t question = request.target.find('?');
  std::string_view rest =
      question == std::string::npos ? "" : std::string_view(request.target).substr(question + 1);
  while (!rest.empty()) {
    const std::string_view pair = rest.substr(0, rest.find('&'));
    rest.remove_prefix(std::min(rest.size(), pair.size() + 1));
    if (pair.starts_with(name) && pair.substr(name.size()).starts_with('='))
      values.push_back(net::percent_decode(pair.substr(name.size() + 1), true));
  }
  return values;
}

net::Task<Result<Json>> previews(node::Node& node, const node::ModelCatalog& catalog,
                                 net::HttpRequest request) {
  std::string model = request.query("model_id");
  auto location = co_await look_up(node, catalog, std::move(model));
  if (!location && location.error().code == Code::kNotFound)
    location.error().code = Code::kInvalidArgument;  // EXO's word for a card that cannot be had
  if (!location) co_return tl::unexpected(location.error());
  const std::vector<std::string> only = values_in(request, "node_ids");
  const size_t most = only.empty() ? node.cluster().devices().size() : only.size();
  Json all = Json::array();
  for (const char* sharding : {"Pipeline", "Tensor"}) {
    for (int32_t devices = 1; devices <= static_cast<int32_t>(std::min(most, kMaxPreviewNodes));
         ++devices)
      all.push_back(preview_json(node, *location, {sharding, "MlxRing", devices}, only));
    all.push_back(preview_json(node, *location, {sharding, "MlxJaccl", 1}, only));
  }
  co_return Json{{"previews", std::move(all)}};
}

// --- waiting for an instance

// What an alias stands for, when the model is on this device; else the name as it is.
net::Task<std::string> true_name(node::Node& node, const node::ModelCatalog& catalog,
                                 std::string name) {
  auto work = [resolve = catalog.resolve, name] {
    std::stop_source no_download;
    no_download.request_stop();
    return resolve(name, no_download.get_token());
  };
  const Result<node::ModelLocation> location = co_await node.blocking_pool().run(std::move(work));
  co_return location ? location->name : name;
}

// The last word of a wait: ready, or failed, or still nothing.
std::optional<Json> news_of(const node::Node& node, const std::string& model) {
  const ExoFacts facts = facts_of(node);
  std::optional<Json> failed;
  for (const node::InstanceStatus& instance : facts.instances) {
    if (instance.model != model) continue;
    if (instance.state == "ready")
      return Json{{"type", "ready"}, {"instance", snake_keys(exo_instance(facts, instance))}};
    if (instance.state == "failed") failed = Json{{"type", "error"}, {"message", instance.reason}};
  }
  return failed;
}

net::Task<void> await_instance(node::Node& node, std::string model, net::TimePoint deadline,
                               milliseconds keep_alive, net::ResponseWriter& writer) {
  EventStream events(writer);
  if (!co_await events.start()) co_return;
  std::optional<Json> news;
  while (!(news = news_of(node, model)) && !node.draining() && net::Clock::now() < deadline) {
    const net::TimePoint beat = net::Clock::now() + keep_alive;
    const net::Wake wake = co_await node.changed().wait(std::min(beat, deadline));
    if (wake == net::Wake::kCancelled) co_return;
    if (wake == net::Wake::kTimeout && !co_await events.keep_alive()) co_return;
  }
  if (!news) {
    news = Json{{"type", "timeout"},
                {"message", fmt::format("no instance of {} became ready in time", model)}};
  }
  if (co_await events.send(std::move(*news))) co_await events.finish();
}

net::Task<void> await_route(node::Node& node, const ExoOptions& options, net::HttpRequest request,
                            net::ResponseWriter& writer) {
  const std::string model = request.query("model_id");
  auto seconds = number_in(request, "timeout_seconds", kMaxAwaitSeconds);
  if (seconds && (*seconds < 0 || *seconds > kMaxAwaitSeconds))
    seconds = fail(Code::kUnprocessable, "timeout_seconds: expected 0 to {}", kMaxAwaitSeconds);
  if (seconds && model.empty())
    seconds = fail(Code::kUnprocessable, "model_id: expected the id of a model");
  if (!seconds) {
    net::HttpResponse refusal = error_reply(seconds.error());
    co_await writer.send(std::move(refusal));
    co_return;
  }
  const net::TimePoint deadline =
      *seconds == 0 ? net::kNever
                    : net::Clock::now() + milliseconds(static_cast<int64_t>(*seconds * 1e3));
  std::string name = co_await true_name(node, options.catalog, model);
  co_await await_instance(node, std::move(name), deadline, options.keep_alive, writer);
}

// --- the table

net::Task<void> send(Result<Json> result, net::ResponseWriter& writer) {
  net::HttpResponse response = reply_of(result);
  co_await writer.send(std::move(response));
}

net::Task<void> send_later(net::Task<Result<Json>> work, net::ResponseWriter& writer) {
  Result<Json> result = co_await std::move(work);
  net::HttpResponse response = reply_of(result);
  co_await writer.send(std::move(response));
}

// A route that answers at once, from the request's rest of path.
template <class Answer>
Router::Handler at_once(Answer answer) {
  return [answer](net::HttpRequest, std::string rest, net::ResponseWriter& writer) {
    return send(answer(rest), writer);
  };
}

void add_instance_routes(Router& router, node::Node& node,
                         const std::shared_ptr<const ExoOptions>& shared) {
  using Request = net::HttpRequest;
  using Writer = net::ResponseWriter;
  router.add("GET", "/instance/previews", [&node, shared](Request r, std::string, Writer& writer) {
    return send_later(previews(node, shared->catalog, std::move(r)), writer);
  });
  router.add("GET", "/instance/placement", [&node, shared](Request r, std::string, Writer& writer) {
    return send_later(placement(node, shared->catalog, std::move(r)), writer);
  });
  router.add("GET", "/instance/await", [&node, shared](Request r, std::string, Writer& writer) {
    return await_route(node, *shared, std::move(r), writer);
  });
  router.add("POST", "/place_instance", [&node, shared](Request r, std::string, Writer& writer) {
    return send_later(place_order(node, shared->catalog, std::move(r.body)), writer);
  });
  router.add("POST", "/instance", [&node, shared](Request r, std::string, Writer& writer) {
    return send_later(place_instance(node, shared->catalog, std::move(r.body)), writer);
  });
  router.add("GET", "/instance/*",
             at_once([&node](const std::string& id) { return show_instance(node, id); }));
  router.add("DELETE", "/instance/*", [&node](Request, std::string id, Writer& writer) {
    return send_later(remove_instance(node, std::move(id)), writer);
  });
}

// Prefill and decode in different places is not built; clients ask, and learn that it is off.
void add_link_routes(Router& router) {
  const auto off = [](const std::string&) -> Result<Json> {
    return fail(Code::kNotFound, "disaggregation is not there: instances cannot be linked");
  };
  router.add("GET", "/v1/feature-flags", at_once([](const std::string&) -> Result<Json> {
               return Json{{"disaggregation", false}};
             }));
  router.add("GET", "/v1/instance-links",
             at_once([](const std::string&) -> Result<Json> { return Json::array(); }));
  router.add("POST", "/v1/instance-links", at_once(off));
  router.add("PUT", "/v1/instance-links/*", at_once(off));
  router.add("DELETE", "/v1/instance-links/*", at_once(off));
}

}  // namespace

void add_exo_routes(Router& router, node::Node& node, ExoOptions options) {
  router.add("GET", "/node_id",
             at_once([&node](const std::string&) -> Result<Json> { return node.device_id(); }));
  const auto state = [&node](const std::string& path) { return state_at(node, path); };
  router.add("GET", "/state", at_once(state));
  router.add("GET", "/state/*", at_once(state));
  router.add("GET", "/events", at_once([&node](const std::string&) -> Result<Json> {
               return exo_events(facts_of(node));
             }));
  // Shared by the handlers, which std::function copies; immutable.
  add_instance_routes(router, node, std::make_shared<const ExoOptions>(std::move(options)));
  add_link_routes(router);
}

}  // namespace cohort::api
