// Commands about running instances and devices: ps, place, plan, stop, devices.
#include "cli/instances.h"

#include <algorithm>
#include <map>
#include <chrono>
#include <cstdio>
#include <set>
#include <thread>

#include <fmt/ranges.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "cli/api_client.h"
#include "cli/commands.h"
#include "cli/terminal.h"

namespace cohort::cli {
namespace {

std::string text_of(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return "-";
  return found->is_string() ? found->get<std::string>() : dump_json(*found);
}

std::string rate_of(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number() || found->get<double>() <= 0) return "-";
  return fmt::format("{:.1f}", found->get<double>());
}

std::string bytes_of(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number()) return "-";
  return format_bytes(found->get<uint64_t>());
}

std::string joined(const Json& array) {
  std::string text;
  for (const Json& item : array) {
    if (!text.empty()) text += ",";
    text += item.is_string() ? item.get<std::string>() : dump_json(item);
  }
  return text.empty() ? "-" : text;
}

std::string short_id(const std::string& id) { return id.substr(0, 12); }

// One line a reason, with the devices that have it.
void print_missing_backends(const Json& devices) {
  std::map<std::string, std::string> names;
  for (const Json& device : devices) {
    for (const Json& backend : device.value("missing_backends", Json::array())) {
      std::string& there = names[text_of(backend, "name") + ": " + text_of(backend, "reason")];
      there += (there.empty() ? "" : ", ") + text_of(device, "name");
    }
  }
  for (const auto& [reason, there] : names) fmt::print("no {} ({})\n", reason, there);
}

// Ports of RDMA devices, where there are any, then what is in their way.
void print_rdma(const Json& devices) {
  Table table({"RDMA OF", "DEVICE", "PORT", "STATE", "FABRIC", "GBIT/S", "ADDRESS"});
  std::string problems;
  bool any = false;
  for (const Json& device : devices) {
    const Json rdma = device.value("rdma", Json::object());
    const std::string name = text_of(device, "name");
    for (const Json& port : rdma.value("ports", Json::array())) {
      any = true;
      table.add({name, text_of(port, "device"), text_of(port, "port"), text_of(port, "state"),
                 text_of(port, "fabric"), rate_of(port, "gbit_per_s"), text_of(port, "address")});
    }
    if (rdma.value("problem", Json()).is_string())
      problems += fmt::format("no RDMA on {}: {}\n", name, text_of(rdma, "problem"));
  }
  if (any) fmt::print("\n{}", table.to_string(wants_colour(1)));
  fmt::print("{}", problems);
}

std::string name_of(const Json& devices, const std::string& id) {
  for (const Json& device : devices) {
    if (text_of(device, "id") == id) return text_of(device, "name");
  }
  return short_id(id);
}

void print_links(const Json& devices) {
  Table table({"FROM", "TO", "TRANSPORT", "ADDRESS", "RTT p50", "RTT p99", "MBIT/S"});
  bool any = false;
  std::string missing;
  for (const Json& device : devices) {
    for (const Json& link : device.value("links", Json::array())) {
      any = true;
      for (const Json& way : link.value("missing_ways", Json::array())) {
        if (text_of(way, "transport") == "ucx") continue;  // another engine over the same ports
        missing += fmt::format("no {} from {} to {}: {}\n", text_of(way, "transport"),
                               text_of(device, "name"), name_of(devices, text_of(link, "peer")),
                               text_of(way, "reason"));
      }
      for (const Json& way : link.value("ways", Json::array())) {
        const bool is_network = way.value("transport", "") == "tcp";
        table.add({text_of(device, "name"), short_id(text_of(link, "peer")),
                   text_of(way, "transport"), is_network ? text_of(link, "address") : "-",
                   rate_of(way, "rtt_us_p50") + " us", rate_of(way, "rtt_us_p99") + " us",
                   rate_of(way, "bandwidth_mbit_per_s")});
      }
    }
  }
  if (any) fmt::print("\n{}{}", table.to_string(wants_colour(1)), missing);
}

// Who would be in the list above, but for a reason.
void hint_at_refused(const Common& common) {
  constexpr int64_t kRecentMs = 60'000;
  const Result<Json> refused = ApiClient(common).get("/cohort/refused");
  if (!refused || !refused->is_array()) return;  // an older device does not tell
  std::set<std::string> addresses;
  for (const Json& peer : *refused) {
    if (unix_ms() - peer.value("last_unix_ms", int64_t{0}) < kRecentMs)
      addresses.insert(peer.value("address", ""));
  }
  if (addresses.empty()) return;
  fmt::print(stderr, "not joined: {}; 'cohort doctor' says why and what to do\n",
             fmt::join(addresses, ", "));
}

// Alive, with every link and its own speed measured.
bool is_measured(const Json& device) {
  const Json links = device.value("links", Json::array());
  return device.value("state", "") == "alive" && !device["read_gb_per_s"].is_null() &&
         std::none_of(links.begin(), links.end(),
                      [](const Json& link) { return link["bandwidth_mbit_per_s"].is_null(); });
}

// Waits until so many devices are there and have measured themselves and their links; what is there by the deadline is
// shown all the same, but too few devices are an error.
Result<Json> devices_once_there(const Common& common, int32_t count) {
  constexpr std::chrono::seconds kPatience{20};
  constexpr std::chrono::milliseconds kPause{100};
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  for (;;) {
    COHORT_TRY(Json listed, ApiClient(common).get("/cohort/devices"));
    if (std::count_if(listed.begin(), listed.end(), is_measured) >= count) return listed;
    if (std::chrono::steady_clock::now() >= deadline) {
      const auto there = static_cast<int32_t>(listed.size());
      if (there >= count) return listed;
      return fail(Code::kTimeout,
                  "{} of {} devices are there after {} s; 'cohort doctor' may know why", there,
                  count, kPatience.count());
    }
    std::this_thread::sleep_for(kPause);
  }
}

// "NAME=FIRST-LAST", layers counted from 0, the last one included.
Result<Json> manual_stage(const std::string& text) {
  const size_t equals = text.rfind('=');
  int32_t first = 0, last = 0;
  char rest = 0;
  const bool parsed = equals != std::string::npos && equals > 0 &&
                      std::sscanf(text.c_str() + equals, "=%d-%d%c", &first, &last, &rest) == 2;
  if (!parsed || first < 0 || last < first)
    return fail(Code::kInvalidArgument, "--layers {}: write DEVICE=FIRST-LAST, such as studio=0-15",
                text);
  return Json{{"device", text.substr(0, equals)}, {"first_layer", first}, {"last_layer", last + 1}};
}

Result<Json> order_of(const PlaceOptions& options) {
  Json body{{"model", options.model},     {"sharding", options.sharding},
            {"devices", options.devices}, {"only", options.only},
            {"context", options.context}, {"concurrency", options.concurrency},
            {"prompt", options.prompt},   {"answer", options.answer},
            {"wire", options.wire},       {"transport", options.transport},
            {"manual", Json::array()}};
  for (const std::string& text : options.layers) {
    COHORT_TRY(Json stage, manual_stage(text));
    body["manual"].push_back(std::move(stage));
  }
  return body;
}

// "studio 0-15 | mini 16-31 60% + pi 16-31 40%"
std::string split_of(const Json& placement) {
  std::string text;
  int32_t stage = -1;
  for (const Json& member : placement["members"]) {
    const int32_t first = member.value("first_layer", 0);
    const double fraction = member.value("fraction", 1.0);
    if (!text.empty()) text += first == stage ? " + " : " | ";
    stage = first;
    text +=
        fmt::format("{} {}-{}", text_of(member, "name"), first, member.value("last_layer", 0) - 1);
    if (fraction < 1) text += fmt::format(" {:.0f}%", fraction * 100);
  }
  return text;
}

// "shm", "shm+tcp"; "-" for one alone.
std::string transports_of(const Json& placed) {
  std::set<std::string> names;
  for (const Json& link : placed.value("links", Json::array()))
    names.insert(link.value("transport", ""));
  return names.empty() ? "-" : fmt::format("{}", fmt::join(names, "+"));
}

// "studio - mini by verbs (round trip 6.0 us, 40000.0 Mbit/s)", for as many pairs as people read.
std::string pairs_in_words(const Json& placement) {
  constexpr size_t kMostPairs = 6;
  std::vector<std::string> pairs;
  const Json links = placement.value("links", Json::array());
  for (const Json& link : links) {
    const Json names = link.value("names", Json::array());
    if (names.size() != 2) continue;  // an older device does not tell
    if (pairs.size() == kMostPairs) {
      pairs.push_back(fmt::format("{} pairs more", links.size() - kMostPairs));
      break;
    }
    pairs.push_back(fmt::format("{} - {} by {} (round trip {} us, {} Mbit/s)",
                                names[0].get<std::string>(), names[1].get<std::string>(),
                                text_of(link, "transport"), rate_of(link, "rtt_us"),
                                rate_of(link, "bandwidth_mbit_per_s")));
  }
  return fmt::format("{}", fmt::join(pairs, "; "));
}

void print_why(const Json& best) {
  fmt::print("\n{}\n", text_of(best, "reason"));
  const std::string pairs = pairs_in_words(best);
  if (!pairs.empty()) fmt::print("{}\n", pairs);
  if (best.value("rdma_worth", Json()).is_string()) fmt::print("{}\n", text_of(best, "rdma_worth"));
}

std::string memory_of(const Json& placement) {
  uint64_t most = 0;
  for (const Json& bytes : placement["memory_bytes_by_device"])
    most = std::max(most, bytes.get<uint64_t>());
  return most == 0 ? "-" : format_bytes(most);
}

}  // namespace

int ps(const Common& common) {
  const Result<Json> instances = ApiClient(common).get("/cohort/instances");
  if (!instances) return report(instances.error());
  if (common.json) return print_json(*instances);
  Table table({"INSTANCE", "MODEL", "STATE", "SHARDING", "DEVICES", "LINKS", "PREDICTED",
               "ACHIEVED", "HEALS", "NOTE"});
  for (const Json& instance : *instances) {
    table.add({short_id(text_of(instance, "instance")), text_of(instance, "model"),
               text_of(instance, "state"), text_of(instance, "sharding"),
               std::to_string(instance.value("members", Json::array()).size()),
               transports_of(instance), rate_of(instance, "predicted_decode_tokens_per_s"),
               rate_of(instance, "achieved_decode_tokens_per_s"), text_of(instance, "heals"),
               text_of(instance, "reason")});
  }
  fmt::print("{}", table.to_string(wants_colour(1)));
  return kExitFine;
}

// A single plain one may be one that is there already; more are always new.
Result<Json> place_instances(const Common& common, const PlaceOptions& options) {
  COHORT_TRY(Json body, order_of(options));
  body["wait"] = options.wait;
  body["another"] = options.replicas > 1;
  Json placed;
  for (int32_t replica = 0; replica < options.replicas; ++replica) {
    COHORT_TRY(placed, ApiClient(common).post("/cohort/instances", body));
  }
  return placed;
}

int place(const Common& common, const PlaceOptions& options) {
  watch_interrupt();
  const Result<Json> placed = place_instances(common, options);
  if (!placed) return report(placed.error());
  if (common.json) return print_json(*placed);
  fmt::print("{} {}\n", text_of(*placed, "instance"), text_of(*placed, "state"));
  return kExitFine;
}

int plan(const Common& common, const PlaceOptions& options) {
  const Result<Json> body = order_of(options);
  if (!body) return report(body.error());
  const Result<Json> planned = ApiClient(common).post("/cohort/plan", *body);
  if (!planned) return report(planned.error());
  if (common.json) return print_json(*planned);
  Table table({"SHARDING", "SPLIT", "LINKS", "MEMORY", "TTFT ms", "TOK/S", "ALL TOK/S", "NOTE"});
  for (const Json& placement : *planned) {
    table.add({text_of(placement, "sharding"), split_of(placement), transports_of(placement),
               memory_of(placement), rate_of(placement, "predicted_ttft_ms"),
               rate_of(placement, "predicted_decode_tokens_per_s"),
               rate_of(placement, "predicted_throughput_tokens_per_s"),
               text_of(placement, "error")});
  }
  fmt::print("{}", table.to_string(wants_colour(1)));
  if (!planned->empty()) print_why(planned->front());
  return planned->empty() || !planned->front()["error"].is_null() ? kExitFailed : kExitFine;
}

int stop(const Common& common, const std::string& instance_or_model) {
  const Result<Json> stopped =
      ApiClient(common).remove("/cohort/instances/" + encode_path(instance_or_model));
  if (!stopped) return report(stopped.error());
  if (common.json) return print_json(*stopped);
  fmt::print("stopped {}\n", instance_or_model);
  return kExitFine;
}

int devices(const Common& common, int32_t wait_for) {
  const Result<Json> listed = wait_for > 0 ? devices_once_there(common, wait_for)
                                           : ApiClient(common).get("/cohort/devices");
  if (!listed) return report(listed.error());
  if (common.json) return print_json(*listed);
  Table table({"DEVICE", "NAME", "STATE", "ROLE", "MEMORY", "AVAILABLE", "READ GB/S", "BACKENDS"});
  for (const Json& device : *listed) {
    std::string role = device.value("leader", false) ? "leader" : "member";
    if (device.value("self", false)) role += " (this)";
    table.add({short_id(text_of(device, "id")), text_of(device, "name"), text_of(device, "state"),
               role, bytes_of(device, "memory_total_bytes"),
               bytes_of(device, "memory_available_bytes"), rate_of(device, "read_gb_per_s"),
               joined(device.value("backends", Json::array()))});
  }
  fmt::print("{}", table.to_string(wants_colour(1)));
  print_missing_backends(*listed);
  print_rdma(*listed);
  print_links(*listed);
  hint_at_refused(common);
  return kExitFine;
}

}  // namespace cohort::cli
