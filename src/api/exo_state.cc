#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <utility>

#include <fmt/chrono.h>

#include "api/exo.h"

namespace cohort::api {
namespace {

Json tagged(const char* name, Json body) {
  Json out = Json::object();
  out[name] = std::move(body);
  return out;
}

Json bytes_json(uint64_t size_bytes) { return Json{{"inBytes", size_bytes}}; }

// FNV-1a, then stirred (splitmix64's end), so that names that differ little have ids that differ much.
uint64_t hash_of(std::string_view text, uint64_t hash) {
  for (const char c : text) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001b3;
  hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9;
  hash = (hash ^ (hash >> 27)) * 0x94d049bb133111eb;
  return hash ^ (hash >> 31);
}

std::string iso_time(int64_t unix_ms) {
  const std::chrono::system_clock::time_point when{std::chrono::milliseconds(unix_ms)};
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:03}000Z",
                     fmt::gmtime(std::chrono::system_clock::to_time_t(when)), unix_ms % 1000);
}

Json shard_json(const node::InstanceStatus& instance, const node::MemberStatus& member,
                const Json& card) {
  Json shard{{"modelCard", card},
             {"deviceRank", member.rank},
             {"worldSize", instance.members.size()},
             {"immediateException", false},
             {"shouldTimeout", nullptr},
             {"startLayer", member.first_layer},
             {"endLayer", member.last_layer},
             {"nLayers", card["nLayers"]}};
  if (member.fraction < 1) shard["fraction"] = member.fraction;
  return tagged(member.fraction < 1 ? "TensorShardMetadata" : "PipelineShardMetadata",
                std::move(shard));
}

const cluster::DeviceDocument* find_device(const std::vector<node::DeviceStatus>& devices,
                                           const std::string& id) {
  for (const node::DeviceStatus& device : devices) {
    if (device.facts.id == id) return &device.facts;
  }
  return nullptr;
}

// Where devices listen for each other; 0: it is not known (any more).
uint16_t port_of(const std::vector<node::DeviceStatus>& devices, const std::string& id) {
  const cluster::DeviceDocument* device = find_device(devices, id);
  return device == nullptr ? 0 : device->mesh_port;
}

// Where a member reaches each of the others, by rank; those it has no link to are left out.
Json hosts_json(const node::InstanceStatus& instance, const cluster::DeviceDocument& from,
                const std::vector<node::DeviceStatus>& devices) {
  Json hosts = Json::array();
  for (const node::MemberStatus& member : instance.members) {
    const cluster::LinkDocument* link = from.link(member.device);
    const uint16_t port = port_of(devices, member.device);
    if (member.device == from.id) {
      hosts.push_back({{"ip", "0.0.0.0"}, {"port", port}});
    } else if (link != nullptr) {
      hosts.push_back({{"ip", link->address}, {"port", port}});
    }
  }
  return hosts;
}

Json failed_runner(const std::string& reason) {
  return tagged("RunnerFailed", {{"errorMessage", reason}, {"diagnostics", Json::array()}});
}

Json runner_json(const node::InstanceStatus& instance, const cluster::ShardDocument* shard) {
  if (instance.state == "failed") return failed_runner(instance.reason);
  if (shard == nullptr) return tagged("RunnerIdle", Json::object());
  if (shard->state == "failed") return failed_runner(shard->reason);
  if (shard->state == "loading") {
    return tagged("RunnerLoading",
                  {{"layersLoaded", shard->layers_loaded}, {"totalLayers", shard->total_layers}});
  }
  if (shard->state != "ready") return tagged("RunnerConnecting", Json::object());
  if (instance.shard.running > 0) return tagged("RunnerRunning", Json::object());
  return tagged("RunnerReady", {{"prefillServerPort", nullptr}});
}

// What is known of a member's runner; null: nothing yet.
const cluster::ShardDocument* shard_of(const ExoFacts& facts, const node::InstanceStatus& instance,
                                       const node::MemberStatus& member) {
  if (member.rank == 0 && !instance.shard.instance.empty()) return &instance.shard;
  const cluster::InstancePlan* plan = facts.plan.find(instance.id);
  const cluster::DeviceDocument* device = find_device(facts.devices, member.device);
  if (device == nullptr || plan == nullptr) return nullptr;
  return device->shard(instance.id, plan->epoch);
}

void add_runners(const ExoFacts& facts, const node::InstanceStatus& instance, Json& runners) {
  for (const node::MemberStatus& member : instance.members) {
    runners[exo_runner_id(instance.id, member.rank)] =
        runner_json(instance, shard_of(facts, instance, member));
  }
}

// A member's part of the model's files: there once its runner loads.
Json download_json(const node::InstanceStatus& instance, const node::MemberStatus& member,
                   const cluster::ShardDocument* shard, const Json& card) {
  Json body{{"nodeId", member.device},
            {"shardMetadata", shard_json(instance, member, card)},
            {"modelDirectory", ""}};
  if (shard != nullptr && shard->state == "failed") {
    body["errorMessage"] = shard->reason;
    return tagged("DownloadFailed", std::move(body));
  }
  body["total"] = bytes_json(shard == nullptr ? 0 : shard->weight_bytes);
  if (shard != nullptr && (shard->state != "loading" || shard->total_layers > 0)) {
    body["readOnly"] = false;
    return tagged("DownloadCompleted", std::move(body));
  }
  body["downloaded"] = bytes_json(0);
  return tagged("DownloadPending", std::move(body));
}

void add_downloads(const ExoFacts& facts, const node::InstanceStatus& instance, Json& downloads) {
  const cluster::InstancePlan* plan = facts.plan.find(instance.id);
  const Json card = exo_card(instance.model, plan == nullptr ? cluster::ModelCost{} : plan->cost);
  for (const node::MemberStatus& member : instance.members) {
    Json& list = downloads[member.device];
    if (list.is_null()) list = Json::array();
    list.push_back(download_json(instance, member, shard_of(facts, instance, member), card));
  }
}

// One for each shard that loads and each request that runs; what is asked and answered is nobody's business.
void add_tasks(const ExoFacts& facts, const node::InstanceStatus& instance, Json& tasks) {
  const auto add = [&](const char* kind, const std::string& what, Json more) {
    const std::string id = exo_id("task/" + instance.id + "/" + what);
    more["taskId"] = id;
    more["taskStatus"] = "Running";
    more["instanceId"] = instance.id;
    tasks[id] = tagged(kind, std::move(more));
  };
  for (const node::MemberStatus& member : instance.members) {
    const cluster::ShardDocument* shard = shard_of(facts, instance, member);
    if (shard == nullptr || shard->state != "loading") continue;
    add("LoadModel", fmt::format("load/{}", member.rank), Json::object());
  }
  for (int32_t i = 0; i < instance.shard.running; ++i) {
    const std::string what = fmt::format("generation/{}", i);
    add("TextGeneration", what,
        {{"commandId", exo_id("command/" + instance.id + "/" + what)},
         {"taskParams", {{"model", instance.model}}},
         {"errorType", nullptr},
         {"errorMessage", nullptr}});
  }
}

Json connection_json(const cluster::LinkDocument& link, uint16_t port) {
  const char* kind = link.address.find(':') == std::string::npos ? "ip4" : "ip6";
  return {{"sinkMultiaddr",
           {{"address", fmt::format("/{}/{}/tcp/{}", kind, link.address, port)},
            {"address_type", kind},
            {"ip_address", link.address},
            {"port", port}}}};
}

Json topology_json(const std::vector<node::DeviceStatus>& devices) {
  Json nodes = Json::array(), connections = Json::object();
  for (const node::DeviceStatus& device : devices) {
    if (device.state == "dead") continue;
    nodes.push_back(device.facts.id);
    Json& sinks = connections[device.facts.id] = Json::object();
    for (const cluster::LinkDocument& link : device.facts.links)
      sinks[link.peer] = Json::array({connection_json(link, port_of(devices, link.peer))});
  }
  return {{"nodes", std::move(nodes)}, {"connections", std::move(connections)}};
}

Json memory_json(const cluster::DeviceDocument& device) {
  return {{"ramTotal", bytes_json(device.memory_total_bytes)},
          {"ramAvailable", bytes_json(device.memory_available_bytes)},
          {"swapTotal", bytes_json(0)},
          {"swapAvailable", bytes_json(0)}};
}

Json network_json(const cluster::DeviceDocument& device) {
  Json interfaces = Json::array();
  for (const cluster::AddressDocument& own : device.addresses) {
    interfaces.push_back({{"name", own.interface},
                          {"ipAddress", own.address},
                          {"interfaceType", own.kind == "other" ? "unknown" : own.kind}});
  }
  return {{"interfaces", std::move(interfaces)}};
}

Json backends_json(const cluster::DeviceDocument& device) {
  Json backends = Json::array();
  for (const std::string& backend : device.backends)
    backends.push_back(backend == "cpu" ? "MlxCpu" : backend == "mlx" ? "MlxMetal" : backend);
  return backends;
}

void add_device(const cluster::DeviceDocument& device, int64_t now_unix_ms, Json& state) {
  const std::string& id = device.id;
  state["lastSeen"][id] = iso_time(now_unix_ms);  // a live device answered a moment ago
  state["nodeIdentities"][id] = {{"modelId", device.system},
                                 {"chipId", device.cpu},
                                 {"friendlyName", device.name},
                                 {"osVersion", "Unknown"},
                                 {"osBuildVersion", "Unknown"}};
  state["nodeMemory"][id] = memory_json(device);
  state["nodeDisk"][id] = {{"total", bytes_json(0)},
                           {"available", bytes_json(device.disk_available_bytes)}};
  state["nodeSystem"][id] = {{"gpuUsage", 0.0},
                             {"temp", device.temperature_c},
                             {"sysPower", 0.0},
                             {"pcpuUsage", 0.0},
                             {"ecpuUsage", 0.0}};
  state["nodeNetwork"][id] = network_json(device);
  state["nodeBackends"][id] = backends_json(device);
}

// EXO's events that say what ours do; null for others.
Json event_json(const ExoFacts& facts, const node::ClusterEvent& event) {
  if (event.kind != "device") return nullptr;
  Json body{{"event_id", exo_id(fmt::format("event/{}", event.number))},
            {"node_id", event.subject}};
  if (event.what == "dead" || event.what == "left") return tagged("NodeTimedOut", std::move(body));
  const cluster::DeviceDocument* device = find_device(facts.devices, event.subject);
  if (event.what != "alive" || device == nullptr) return nullptr;
  body["when"] = iso_time(event.unix_ms);
  body["info"] = snake_keys(memory_json(*device));
  return tagged("NodeGatheredInfo", std::move(body));
}

std::string snake(std::string_view name) {
  if (name.empty() || std::isupper(static_cast<unsigned char>(name.front())))
    return std::string(name);
  std::string out;
  for (const char c : name) {
    const bool capital = std::isupper(static_cast<unsigned char>(c));
    if (capital) out += '_';
    out += capital ? static_cast<char>(std::tolower(static_cast<unsigned char>(c))) : c;
  }
  return out;
}

}  // namespace

std::string exo_id(std::string_view what) {
  const std::string high = fmt::format("{:016x}", hash_of(what, 0xcbf29ce484222325));
  const std::string low = fmt::format("{:016x}", hash_of(what, 0x9ae16a3b2f90404f));
  return fmt::format("{}-{}-8{}-8{}-{}", high.substr(0, 8), high.substr(8, 4), high.substr(13, 3),
                     low.substr(1, 3), low.substr(4));
}

std::string exo_runner_id(const std::string& instance, int32_t rank) {
  return exo_id(fmt::format("runner/{}/{}", instance, rank));
}

Json exo_card(const std::string& model, const cluster::ModelCost& cost) {
  uint64_t size_bytes = cost.embedding_bytes + cost.head_bytes;
  for (const cluster::LayerCost& layer : cost.layers) size_bytes += layer.weight_bytes;
  return {{"modelId", model},
          {"storageSize", bytes_json(size_bytes)},
          {"nLayers", cost.layers.size()},
          {"hiddenSize", cost.width},
          {"supportsTensor", true},
          {"numKeyValueHeads", cost.kv_heads > 0 ? Json(cost.kv_heads) : Json(nullptr)},
          {"tasks", Json::array({"TextGeneration"})},
          {"components", nullptr},
          {"family", ""},
          {"quantization", ""},
          {"baseModel", ""},
          {"capabilities", Json::array({"text"})},
          {"backends", Json::array()},
          {"reasoningDialect", nullptr},
          {"contextLength", cost.max_positions},
          {"usesCfg", false},
          {"trustRemoteCode", false},
          {"isCustom", false},
          {"vision", nullptr},
          {"samplingDefaults", nullptr}};
}

Json exo_instance(const node::InstanceStatus& instance, const cluster::ModelCost& cost,
                  const std::vector<node::DeviceStatus>& devices) {
  const Json card = exo_card(instance.model, cost);
  const uint16_t own_port =
      instance.members.empty() ? 0 : port_of(devices, instance.members.front().device);
  Json shards = Json::object(), runners = Json::object(), hosts = Json::object();
  for (const node::MemberStatus& member : instance.members) {
    const std::string runner = exo_runner_id(instance.id, member.rank);
    shards[runner] = shard_json(instance, member, card);
    runners[member.device] = runner;
    const cluster::DeviceDocument* device = find_device(devices, member.device);
    if (device != nullptr) hosts[member.device] = hosts_json(instance, *device, devices);
  }
  return tagged("MlxRingInstance", {{"instanceId", instance.id},
                                    {"shardAssignments",
                                     {{"modelId", instance.model},
                                      {"runnerToShard", std::move(shards)},
                                      {"nodeToRunner", std::move(runners)}}},
                                    {"hostsByNode", std::move(hosts)},
                                    {"ephemeralPort", own_port}});
}

Json exo_instance(const ExoFacts& facts, const node::InstanceStatus& instance) {
  static const cluster::ModelCost kUnknown;
  const cluster::InstancePlan* plan = facts.plan.find(instance.id);
  return exo_instance(instance, plan == nullptr ? kUnknown : plan->cost, facts.devices);
}

Json exo_state(const ExoFacts& facts) {
  Json state = Json::object();
  for (const char* map :
       {"instances", "runners", "downloads", "tasks", "lastSeen", "nodeIdentities", "nodeMemory",
        "nodeDisk", "nodeSystem", "nodeNetwork", "nodeThunderbolt", "nodeThunderboltBridge",
        "nodeRdmaCtl", "nodeBackends", "instanceLinks", "prefillServerPorts", "customModelCards"})
    state[map] = Json::object();
  state["thunderboltBridgeCycles"] = Json::array();
  state["topology"] = topology_json(facts.devices);
  state["lastEventAppliedIdx"] = facts.events.empty() ? 0 : facts.events.back().number;
  for (const node::InstanceStatus& instance : facts.instances) {
    state["instances"][instance.id] = exo_instance(facts, instance);
    add_runners(facts, instance, state["runners"]);
    add_downloads(facts, instance, state["downloads"]);
    add_tasks(facts, instance, state["tasks"]);
  }
  for (const node::DeviceStatus& device : facts.devices) {
    if (device.state != "dead") add_device(device.facts, facts.now_unix_ms, state);
  }
  return state;
}

Json exo_events(const ExoFacts& facts) {
  Json events = Json::array();
  for (const node::ClusterEvent& event : facts.events) {
    Json told = event_json(facts, event);
    if (!told.is_null()) events.push_back(std::move(told));
  }
  for (const node::InstanceStatus& instance : facts.instances) {
    events.push_back(
        tagged("InstanceCreated", {{"event_id", exo_id("event/instance/" + instance.id)},
                                   {"instance", snake_keys(exo_instance(facts, instance))}}));
  }
  return events;
}

Json snake_keys(const Json& value) {
  if (value.is_array()) {
    Json out = Json::array();
    for (const Json& item : value) out.push_back(snake_keys(item));
    return out;
  }
  if (!value.is_object()) return value;
  Json out = Json::object();
  for (const auto& [name, item] : value.items()) out[snake(name)] = snake_keys(item);
  return out;
}

const Json* find_path(const Json& value, std::string_view path) {
  const Json* at = &value;
  while (!path.empty()) {
    const std::string key(path.substr(0, path.find('/')));
    path.remove_prefix(std::min(path.size(), key.size() + 1));
    if (key.empty()) continue;
    if (at->is_object()) {
      const auto found = at->find(key);
      if (found == at->end()) return nullptr;
      at = &*found;
      continue;
    }
    size_t index = 0;
    const auto [end, status] = std::from_chars(key.data(), key.data() + key.size(), index);
    const bool is_number = status == std::errc() && end == key.data() + key.size();
    if (!at->is_array() || !is_number || index >= at->size()) return nullptr;
    at = &(*at)[index];
  }
  return at;
}

}  // namespace cohort::api
