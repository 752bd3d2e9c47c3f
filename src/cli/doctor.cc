#include "cli/doctor.h"

#include <sys/stat.h>

#include <algorithm>

#include "cli/api_client.h"
#include "cli/commands.h"
#include "cli/model_store.h"
#include "cli/secret.h"
#include "cli/terminal.h"

namespace cohort::cli {
namespace {

using State = Finding::State;

// What is read of a device's entry in /cohort/devices.
struct DeviceEntry {
  std::string name, state, version;
  bool self = false;
  template <class Visitor>
  void fields(Visitor& visit) {
    visit("name", name);
    visit("state", state);
    visit("version", version);
    visit("self", self);
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
  return {"peers", State::kOk, "no other device seen; the device's log names those it refused",
          "start cohort on another device, or name one with --peer HOST"};
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
  if (self != devices->end()) findings.push_back(examine_version(common.api, *self));
  findings.push_back(examine_peers(*devices));
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
