#include "cli/doctor.h"

#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <optional>

#include "base/clock.h"
#include "cli/api_client.h"
#include "cli/commands.h"
#include "cli/model_store.h"
#include "cli/secret.h"
#include "cli/terminal.h"

namespace cohort::cli {
namespace {

using State = Finding::State;

struct MissingWayEntry {
  std::string transport, reason;
  template <class Visitor>
  void fields(Visitor& visit) {
    visit("transport", transport);
    visit("reason", reason);
  }
};

struct LinkEntry {
  std::string peer;
  std::vector<MissingWayEntry> missing_ways;
  template <class Visitor>
  void fields(Visitor& visit) {
    visit("peer", peer);
    visit("missing_ways", missing_ways);
  }
};

// What is read of a device's entry in /cohort/devices.
struct DeviceEntry {
  std::string id, name, state, version;
  bool self = false;
  int64_t clock_unix_ms = 0;  // when it last wrote of itself: seconds ago
  std::vector<LinkEntry> links;
  template <class Visitor>
  void fields(Visitor& visit) {
    visit("id", id);
    visit("links", links);
    visit("name", name);
    visit("state", state);
    visit("version", version);
    visit("self", self);
    visit("clock_unix_ms", clock_unix_ms);
  }
};

// Of an entry in /cohort/refused.
struct RefusedEntry {
  std::string address, why;
  std::optional<std::string> remedy;
  int64_t first_unix_ms = 0, last_unix_ms = 0;
  uint64_t times = 0;
  template <class Visitor>
  void fields(Visitor& visit) {
    visit("address", address);
    visit("why", why);
    visit("remedy", remedy);
    visit("first_unix_ms", first_unix_ms);
    visit("last_unix_ms", last_unix_ms);
    visit("times", times);
  }
};

Finding examine_version(const std::string& url, const DeviceEntry& self) {
  if (self.version == COHORT_VERSION)
    return {"device", State::kOk, fmt::format("{} answers at {}", self.name, url), ""};
  return {"device", State::kWarning,
          fmt::format("{} at {} runs version {}, this command is {}", self.name, url, self.version,
                      COHORT_VERSION),
          "start the device anew with this binary"};
}

Finding examine_peers(const std::vector<DeviceEntry>& devices) {
  std::string alive, other;
  for (const DeviceEntry& device : devices) {
    if (device.self) continue;
    std::string& list = device.state == "alive" ? alive : other;
    list += fmt::format("{}{}", list.empty() ? "" : ", ", device.name);
  }
  if (!other.empty()) {
    return {"peers", State::kWarning, fmt::format("{} not answering", other),
            "see whether they run, and the network between; 'cohort devices' shows the links"};
  }
  if (!alive.empty()) return {"peers", State::kOk, alive, ""};
  return {"peers", State::kOk, "no other device seen",
          "start cohort on another device, or name one with --peer HOST"};
}

// Peers that work, but not quite alike.
void examine_differences(const std::vector<DeviceEntry>& devices, Findings& findings) {
  constexpr int64_t kMaxClockDifferenceMs = 60'000;
  for (const DeviceEntry& device : devices) {
    if (device.self || device.state != "alive") continue;
    if (device.version != COHORT_VERSION) {
      findings.push_back(
          {"peer " + device.name, State::kWarning,
           fmt::format("runs version {}, this is {}", device.version, COHORT_VERSION),
           "update the older one: it may not know what the newer one asks for"});
    }
    const int64_t behind_ms = unix_ms() - device.clock_unix_ms;
    if (device.clock_unix_ms != 0 && std::abs(behind_ms) > kMaxClockDifferenceMs) {
      findings.push_back({"peer " + device.name, State::kWarning,
                          fmt::format("its clock is {} s {}", std::abs(behind_ms) / 1000,
                                      behind_ms > 0 ? "behind" : "ahead"),
                          "turn on network time there: timedatectl set-ntp true"});
    }
  }
}

// Both have an RDMA port that is up, and nothing crosses.
void examine_rdma_links(const std::vector<DeviceEntry>& devices, const DeviceEntry& self,
                        Findings& findings) {
  for (const LinkEntry& link : self.links) {
    const auto peer = std::ranges::find(devices, link.peer, &DeviceEntry::id);
    if (peer == devices.end()) continue;
    for (const MissingWayEntry& way : link.missing_ways) {
      if (way.transport != "verbs") continue;  // UCX is another engine over the same ports
      findings.push_back({"rdma to " + peer->name, State::kWarning, way.reason,
                          "the ports at both ends need addresses of one network, a cable or "
                          "switch between them and the same MTU; let UDP port 4791 in (RoCE); "
                          "locked memory must not be limited (ulimit -l)"});
    }
  }
}

std::string ago(int64_t unix_time_ms) {
  const int64_t seconds = std::max<int64_t>(0, (unix_ms() - unix_time_ms) / 1000);
  if (seconds < 120) return fmt::format("{} s", seconds);
  return seconds < 7200 ? fmt::format("{} min", seconds / 60) : fmt::format("{} h", seconds / 3600);
}

// Those who tried in the last minutes: whoever stopped trying needs no advice.
void examine_refused(ApiClient& client, Findings& findings) {
  constexpr int64_t kRecentMs = 10 * 60'000;
  constexpr size_t kMostShown = 20;
  const Result<Json> listed = client.get("/cohort/refused");
  const auto refused = listed ? from_json<std::vector<RefusedEntry>>(*listed)
                              : Result<std::vector<RefusedEntry>>(tl::unexpected(listed.error()));
  if (!refused) return;  // an older device does not tell
  size_t shown = 0;
  for (const RefusedEntry& peer : *refused) {
    if (unix_ms() - peer.last_unix_ms > kRecentMs || ++shown > kMostShown) break;
    findings.push_back({"refused " + peer.address, State::kWarning,
                        fmt::format("{}; since {}, {} times, the last {} ago", peer.why,
                                    ago(peer.first_unix_ms), peer.times, ago(peer.last_unix_ms)),
                        peer.remedy.value_or("")});
  }
}

// True when the device answers.
bool examine_device(const Common& common, Findings& findings) {
  ApiClient client(common);
  const Result<Json> listed = client.get("/cohort/devices");
  const auto devices = listed ? from_json<std::vector<DeviceEntry>>(*listed)
                              : Result<std::vector<DeviceEntry>>(tl::unexpected(listed.error()));
  if (!devices) {
    const bool is_up = devices.error().code != Code::kUnavailable;
    findings.push_back(
        {"device", is_up ? State::kFailed : State::kWarning,
         is_up ? devices.error().message : fmt::format("no device answers at {}", common.api),
         is_up ? "give the right --api and --api-key"
               : "'cohort serve' starts it; --api names another"});
    return false;
  }
  const auto self = std::find_if(devices->begin(), devices->end(),
                                 [](const DeviceEntry& device) { return device.self; });
  if (self != devices->end()) {
    findings.push_back(examine_version(common.api, *self));
    examine_rdma_links(*devices, *self, findings);
  }
  findings.push_back(examine_peers(*devices));
  examine_differences(*devices, findings);
  examine_refused(client, findings);
  return true;
}

Finding examine_secret() {
  const Result<std::string> secret = read_secret({});
  if (!secret)
    return {"secret", State::kFailed, secret.error().message,
            "'cohort secret new' makes a new one"};
  if (secret->empty()) {
    return {"secret", State::kWarning, "none set: whoever is on the local network can join",
            "'cohort secret new' here, 'cohort secret set' with it on the other devices"};
  }
  struct stat status {};
  const std::string file = default_secret_file().string();
  if (::stat(file.c_str(), &status) == 0 && (status.st_mode & 077) != 0)
    return {"secret", State::kWarning, file + " can be read by others", "chmod 600 " + file};
  return {"secret", State::kOk, "set", ""};
}

const char* name_of(State state) {
  switch (state) {
    case State::kOk: return "ok";
    case State::kWarning: return "warning";
    case State::kFailed: return "failed";
  }
  return "";
}

Json to_json(const Findings& findings) {
  Json all = Json::array();
  for (const Finding& finding : findings) {
    all.push_back({{"check", finding.check},
                   {"state", name_of(finding.state)},
                   {"seen", finding.seen},
                   {"remedy", finding.remedy.empty() ? Json(nullptr) : Json(finding.remedy)}});
  }
  return all;
}

const char* colour_of(State state) {
  switch (state) {
    case State::kOk: return "\033[32m";
    case State::kWarning: return "\033[33m";
    case State::kFailed: return "\033[31m";
  }
  return "";
}

void print_lines(const Findings& findings) {
  const bool colour = wants_colour(1);
  size_t width = 0;
  for (const Finding& finding : findings) width = std::max(width, finding.check.size());
  for (const Finding& finding : findings) {
    fmt::print("{}{:<7}{}  {:<{}}  {}", colour ? colour_of(finding.state) : "",
               name_of(finding.state), colour ? "\033[0m" : "", finding.check, width, finding.seen);
    if (!finding.remedy.empty()) fmt::print(" -> {}", finding.remedy);
    fmt::print("\n");
  }
}

}  // namespace

int doctor(const Common& common, const StoreOptions& store) {
  watch_interrupt();
  Findings findings;
  const bool is_up = examine_device(common, findings);
  findings.push_back(examine_secret());
  examine_machine(open_store(store).data_dir(), findings);
  examine_network(is_up, findings);
  if (common.json) {
    print_json(to_json(findings));
  } else {
    print_lines(findings);
  }
  const bool failed = std::any_of(findings.begin(), findings.end(), [](const Finding& finding) {
    return finding.state == State::kFailed;
  });
  return failed ? kExitFailed : kExitFine;
}

}  // namespace cohort::cli
