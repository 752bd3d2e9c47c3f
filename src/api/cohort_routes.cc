// What the command line and the dashboard use. Scripts rely on these shapes: fields are added, never changed.
#include <algorithm>
#include <limits>
#include <utility>

#include "api/json_reply.h"
#include "api/openai.h"
#include "api/routes.h"

namespace cohort::api {
namespace {

struct PlaceBody {
  std::string model;
  bool wait = false;
  bool another = false;  // beside one that is there already
  template <class Visitor>
  void fields(Visitor& visit) {
    visit("model", model);
    visit("wait", wait);
    visit("another", another);
  }
};

Json rate_or_null(double rate) { return rate > 0 ? Json(rate) : Json(nullptr); }
Json text_or_null(const std::string& text) { return text.empty() ? Json(nullptr) : Json(text); }

Json member_json(const node::MemberStatus& member) {
  return Json{{"device", member.device},
              {"name", member.device_name},
              {"rank", member.rank},
              {"first_layer", member.first_layer},
              {"last_layer", member.last_layer},
              {"fraction", member.fraction}};
}

Json pairs_json(const std::vector<node::PairStatus>& pairs) {
  Json out = Json::array();
  for (const node::PairStatus& pair : pairs)
    out.push_back(Json{{"ranks", {pair.first, pair.second}}, {"transport", pair.transport}});
  return out;
}

Json instance_json(const node::InstanceStatus& instance) {
  Json out{{"instance", instance.id},
           {"model", instance.model},
           {"state", instance.state},
           {"sharding", instance.sharding}};
  out["members"] = Json::array();
  for (const node::MemberStatus& member : instance.members)
    out["members"].push_back(member_json(member));
  out["links"] = pairs_json(instance.pairs);
  out["predicted_decode_tokens_per_s"] = rate_or_null(instance.predicted.decode_tokens_per_s);
  out["predicted_ttft_ms"] = rate_or_null(instance.predicted.ttft_ms);
  out["predicted_throughput_tokens_per_s"] =
      rate_or_null(instance.predicted.throughput_tokens_per_s);
  out["achieved_decode_tokens_per_s"] = rate_or_null(instance.shard.decode_tokens_per_s);
  out["heals"] = instance.heals;
  out["reason"] = text_or_null(instance.reason);
  out["why"] = text_or_null(instance.why);
  Json shard = to_json(instance.shard);
  for (const char* key : {"instance", "epoch", "rank", "state", "reason", "restarts",
                          "decode_tokens_per_s", "transports"})
    shard.erase(key);
  out.update(shard);
  return out;
}

Json way_json(const cluster::WayDocument& way) {
  return Json{{"transport", way.transport},
              {"rtt_us_p50", rate_or_null(way.rtt_us_p50)},
              {"rtt_us_p99", rate_or_null(way.rtt_us_p99)},
              {"bandwidth_mbit_per_s", rate_or_null(way.bandwidth_mbit_per_s)}};
}

// Shared memory goes without saying before it was measured; the network does not.
double assumed_rtt_us(const cluster::WayDocument& way) {
  if (way.rtt_us_p50 > 0) return way.rtt_us_p50;
  return way.transport == "tcp" ? std::numeric_limits<double>::infinity() : 0;
}

// The way with the shortest round trip between the pair, then all of them.
Json link_json(const cluster::LinkDocument& link) {
  std::vector<cluster::WayDocument> ways = link.ways;
  ways.push_back({"tcp", link.rtt_us_p50, link.rtt_us_p99, link.bandwidth_mbit_per_s});
  std::ranges::stable_sort(ways, {}, assumed_rtt_us);
  Json out{{"peer", link.peer},
           {"address", link.address},
           {"kind", link.kind},
           {"measured_unix_ms", link.measured_unix_ms},
           {"ways", Json::array()},
           {"missing_ways", Json::array()},
           {"message_us", rate_or_null(link.message_us)}};
  out.update(way_json(ways.front()));
  for (const cluster::WayDocument& way : ways) out["ways"].push_back(way_json(way));
  for (const cluster::MissingWayDocument& way : link.missing_ways)
    out["missing_ways"].push_back({{"transport", way.transport}, {"reason", way.reason}});
  return out;
}

Json rdma_json(const cluster::RdmaDocument& rdma) {
  Json ports = Json::array();
  for (const cluster::RdmaPortDocument& port : rdma.ports) {
    ports.push_back({{"device", port.device},
                     {"port", port.port},
                     {"state", port.state},
                     {"fabric", port.fabric},
                     {"gbit_per_s", rate_or_null(port.gbit_per_s)},
                     {"address", port.address.empty() ? Json(nullptr) : Json(port.address)}});
  }
  return Json{{"ports", std::move(ports)},
              {"problem", rdma.problem.empty() ? Json(nullptr) : Json(rdma.problem)}};
}

Json memory_json(const cluster::MemorySpeed& memory) {
  if (memory.measured_unix_ms == 0) return nullptr;
  return Json{{"read_gb_per_s", rate_or_null(memory.read_gb_per_s)},
              {"together_gb_per_s", rate_or_null(memory.together_gb_per_s)},
              {"measured_unix_ms", memory.measured_unix_ms}};
}

Json device_json(const node::DeviceStatus& device) {
  const cluster::DeviceDocument& facts = device.facts;
  Json out{
      {"id", facts.id},
      {"name", facts.name},
      {"self", device.self},
      {"leader", device.leader},
      {"state", device.state},
      {"memory_total_bytes", facts.memory_total_bytes},
      {"memory_available_bytes", facts.memory_available_bytes},
      {"read_gb_per_s", rate_or_null(facts.read_gb_per_s)},
      {"memory_now", memory_json(facts.memory)},
      {"matmul_gops", rate_or_null(facts.matmul_gops)},
      {"backends", facts.backends},
      {"missing_backends", Json::array()},
      {"rdma", rdma_json(facts.rdma)},
      {"links", Json::array()},
      {"worker", facts.worker},
      {"leaving", facts.leaving},
      {"version", facts.version},
      {"system", facts.system},
      {"cpu", facts.cpu},
      {"cores", facts.cores},
      {"instruction_set", facts.instruction_set},
      {"disk_available_bytes", facts.disk_available_bytes},
      {"temperature_c", rate_or_null(facts.temperature_c)},
      {"battery_percent", facts.battery_percent < 0 ? Json(nullptr) : Json(facts.battery_percent)},
      {"daemon_rss_bytes", facts.daemon_rss_bytes},
      {"mesh_port", facts.mesh_port},
      {"clock_unix_ms", facts.clock_unix_ms}};
  for (const cluster::MissingBackend& backend : facts.missing_backends)
    out["missing_backends"].push_back({{"name", backend.name}, {"reason", backend.reason}});
  for (const cluster::LinkDocument& link : facts.links) out["links"].push_back(link_json(link));
  return out;
}

// What a placement's pairs would be linked by, with the figures it was priced by.
Json planned_links_json(const cluster::InstancePlan& plan, const cluster::Topology& topology) {
  Json links = pairs_json(node::pairs_of(plan, {}));
  const auto index_of = [&](const std::string& id) {
    return static_cast<int>(std::ranges::find(topology.devices, id, &cluster::DeviceFacts::id) -
                            topology.devices.begin());
  };
  for (size_t i = 0; i < links.size(); ++i) {
    const int from = index_of(plan.pairs[i].first), to = index_of(plan.pairs[i].second);
    const cluster::LinkFacts& facts = topology.link(from, to);
    links[i]["names"] = {topology.devices[static_cast<size_t>(from)].name,
                         topology.devices[static_cast<size_t>(to)].name};
    links[i]["rtt_us"] = facts.round_trip_s * 1e6;
    links[i]["message_us"] = facts.path_seconds(cluster::kMessageBytes) * 1e6;
    links[i]["bandwidth_mbit_per_s"] = facts.bytes_per_s * 8 / 1e6;
  }
  return links;
}

Json placement_json(const cluster::Placement& placement, const cluster::Topology& topology) {
  const cluster::InstancePlan plan{.stages = cluster::stages_of(placement, topology),
                                   .pairs = cluster::pairs_of(placement, topology)};
  auto ranks = node::members_of(plan);
  // In the order of layers, as the predicted bytes are.
  std::stable_sort(ranks.begin(), ranks.end(),
                   [](const auto& a, const auto& b) { return a.first_layer < b.first_layer; });
  Json members = Json::array(), memory = Json::object();
  for (size_t i = 0; i < ranks.size(); ++i) {
    members.push_back(member_json(ranks[i]));
    if (i < placement.prediction.memory_bytes.size())
      memory[ranks[i].device] = placement.prediction.memory_bytes[i];
  }
  const cluster::Prediction& prediction = placement.prediction;
  return Json{
      {"sharding", placement.sharding},
      {"members", std::move(members)},
      {"links", planned_links_json(plan, topology)},
      {"memory_bytes_by_device", std::move(memory)},
      {"predicted_ttft_ms", rate_or_null(prediction.time_to_first_token_s * 1e3)},
      {"predicted_decode_tokens_per_s", rate_or_null(prediction.decode_tokens_per_s)},
      {"predicted_throughput_tokens_per_s", rate_or_null(prediction.throughput_tokens_per_s)},
      {"weights_ms", prediction.weights_s * 1e3},
      {"sync_ms", prediction.sync_s * 1e3},
      {"logits_ms", prediction.logits_s * 1e3},
      {"hop_ms", prediction.hop_s * 1e3},
      {"reason", placement.reason},
      {"error", text_or_null(placement.error)}};
}

net::Task<void> send(net::ResponseWriter& writer, Json reply) {
  net::HttpResponse response = json_reply(reply);
  co_await writer.send(std::move(response));
}

net::Task<void> list_instances(node::Node& node, net::ResponseWriter& writer) {
  Json reply = Json::array();
  for (const auto& instance : node.instances()) reply.push_back(instance_json(instance));
  co_await send(writer, std::move(reply));
}

net::Task<void> list_devices(node::Node& node, net::ResponseWriter& writer) {
  Json reply = Json::array();
  for (const auto& device : node.devices()) reply.push_back(device_json(device));
  co_await send(writer, std::move(reply));
}

net::Task<void> list_refused(node::Node& node, net::ResponseWriter& writer) {
  Json reply = Json::array();
  for (const node::RefusedPeer& peer : node.refused_peers()) {
    reply.push_back({{"address", peer.address},
                     {"why", peer.why},
                     {"remedy", text_or_null(peer.remedy)},
                     {"first_unix_ms", peer.first_unix_ms},
                     {"last_unix_ms", peer.last_unix_ms},
                     {"times", peer.times}});
  }
  co_await send(writer, std::move(reply));
}

// The body of both placing and planning: the model, and the wishes of cluster/plan_document.h beside it.
Result<node::PlaceWish> to_wish(const Json& json, const PlaceBody& body) {
  if (body.model.empty()) return fail(Code::kUnprocessable, "model: expected the name of a model");
  node::PlaceWish wish{.model = body.model, .another = body.another};
  COHORT_TRY(wish.wishes, from_json<cluster::InstanceWishes>(json));
  const cluster::InstanceWishes& wishes = wish.wishes;
  if (std::min({wishes.context, wishes.concurrency, wishes.devices, wishes.prompt, wishes.answer}) <
      0) {
    return fail(
        Code::kUnprocessable,
        "context: expected no negative number, nor for concurrency, devices, prompt or answer");
  }
  return wish;
}

struct PlaceOrder {
  node::PlaceWish wish;
  bool wait = false;
};

net::Task<Result<PlaceOrder>> read_order(node::Node& node, std::string text) {
  const auto json = co_await parse_body(node, std::move(text));
  if (!json) co_return tl::unexpected(json.error());
  COHORT_CO_TRY(const PlaceBody body, from_json<PlaceBody>(*json));
  COHORT_CO_TRY(node::PlaceWish wish, to_wish(*json, body));
  co_return PlaceOrder{std::move(wish), body.wait};
}

net::Task<void> send_error(net::ResponseWriter& writer, Error error) {
  net::HttpResponse response = openai_error_response(error);
  co_await writer.send(std::move(response));
}

net::Task<void> place(node::Node& node, net::HttpRequest request, net::ResponseWriter& writer) {
  auto order = co_await read_order(node, std::move(request.body));
  if (!order) co_return co_await send_error(writer, order.error());
  const auto placed = co_await node.place(std::move(order->wish), order->wait);
  if (!placed) co_return co_await send_error(writer, placed.error());
  net::HttpResponse response =
      json_reply(instance_json(*placed), placed->state == "ready" ? 200 : 202);
  co_await writer.send(std::move(response));
}

net::Task<void> plan(node::Node& node, net::HttpRequest request, net::ResponseWriter& writer) {
  auto order = co_await read_order(node, std::move(request.body));
  if (!order) co_return co_await send_error(writer, order.error());
  const auto answer = co_await node.plan(std::move(order->wish));
  if (!answer) co_return co_await send_error(writer, answer.error());
  Json reply = Json::array();
  for (const cluster::Placement& placement : answer->placements)
    reply.push_back(placement_json(placement, answer->topology));
  if (!reply.empty()) reply.front()["rdma_worth"] = text_or_null(answer->rdma_worth);
  co_await send(writer, std::move(reply));
}

net::Task<void> stop(node::Node& node, std::string name, net::ResponseWriter& writer) {
  const auto stopped = co_await node.stop(std::move(name));
  if (!stopped) co_return co_await send_error(writer, stopped.error());
  Json reply = Json::object();
  reply["stopped"] = *stopped;
  reply["count"] = stopped->size();
  co_await send(writer, std::move(reply));
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
  router.add("GET", "/cohort/refused",
             [&node](net::HttpRequest, std::string, net::ResponseWriter& writer) {
               return list_refused(node, writer);
             });
  router.add("POST", "/cohort/plan",
             [&node](net::HttpRequest request, std::string, net::ResponseWriter& writer) {
               return plan(node, std::move(request), writer);
             });
}

}  // namespace cohort::api
