// `cohort top`: the cluster at a glance, drawn anew each second.
#include <poll.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "base/bytes.h"
#include "cli/api_client.h"
#include "cli/commands.h"
#include "cli/terminal.h"

namespace cohort::cli {
namespace {

constexpr int kRedrawMs = 1000;
constexpr int kBarColumns = 10;

// What is read of /cohort/devices and /cohort/instances; nulls stay zero.
struct Link {
  std::string peer, transport, kind;
  double rtt_us_p50 = 0, bandwidth_mbit_per_s = 0;
  template <class Visitor>
  void fields(Visitor& visit) {
    visit("peer", peer);
    visit("transport", transport);
    visit("kind", kind);
    visit("rtt_us_p50", rtt_us_p50);
    visit("bandwidth_mbit_per_s", bandwidth_mbit_per_s);
  }
};

struct Device {
  std::string id, name, state;
  bool self = false, leader = false, leaving = false;
  uint64_t memory_total_bytes = 0, memory_available_bytes = 0;
  double read_gb_per_s = 0, temperature_c = 0;
  std::vector<Link> links;
  template <class Visitor>
  void fields(Visitor& visit) {
    visit("id", id);
    visit("name", name);
    visit("state", state);
    visit("self", self);
    visit("leader", leader);
    visit("leaving", leaving);
    visit("memory_total_bytes", memory_total_bytes);
    visit("memory_available_bytes", memory_available_bytes);
    visit("read_gb_per_s", read_gb_per_s);
    visit("temperature_c", temperature_c);
    visit("links", links);
  }
};

struct Member {
  std::string name;
  template <class Visitor>
  void fields(Visitor& visit) {
    visit("name", name);
  }
};

struct Instance {
  std::string instance, model, state, sharding, reason;
  std::vector<Member> members;
  double predicted_decode_tokens_per_s = 0, achieved_decode_tokens_per_s = 0;
  int32_t requests = 0, running = 0, queued = 0, heals = 0;
  int32_t layers_loaded = 0, total_layers = 0;
  uint64_t generated_tokens = 0;
  template <class Visitor>
  void fields(Visitor& visit) {
    visit("instance", instance);
    visit("model", model);
    visit("state", state);
    visit("sharding", sharding);
    visit("reason", reason);
    visit("members", members);
    visit("predicted_decode_tokens_per_s", predicted_decode_tokens_per_s);
    visit("achieved_decode_tokens_per_s", achieved_decode_tokens_per_s);
    visit("requests", requests);
    visit("running", running);
    visit("queued", queued);
    visit("heals", heals);
    visit("layers_loaded", layers_loaded);
    visit("total_layers", total_layers);
    visit("generated_tokens", generated_tokens);
  }
};

struct View {
  std::vector<Device> devices;
  std::vector<Instance> instances;
  template <class Visitor>
  void fields(Visitor& visit) {
    visit("devices", devices);
    visit("instances", instances);
  }
};

Result<Json> fetch(ApiClient& client) {
  Json both = Json::object();
  COHORT_TRY(both["devices"], client.get("/cohort/devices"));
  COHORT_TRY(both["instances"], client.get("/cohort/instances"));
  return both;
}

// --- a frame: from values to text

std::string number(double value, const char* unit = "") {
  return value > 0 ? fmt::format("{:.1f}{}", value, unit) : "-";
}

std::string memory_bar(const Device& device) {
  if (device.memory_total_bytes == 0) return "-";
  const auto total = static_cast<double>(device.memory_total_bytes);
  const double used = 1 - static_cast<double>(device.memory_available_bytes) / total;
  std::string bar;
  for (int i = 0; i < kBarColumns; ++i) bar += i < used * kBarColumns ? "█" : "░";
  return fmt::format("{} {} of {} free", bar, format_bytes(device.memory_available_bytes),
                     format_bytes(device.memory_total_bytes));
}

std::string device_table(const std::vector<Device>& devices, bool colour) {
  Table table({"DEVICE", "STATE", "ROLE", "MEMORY", "READ GB/S", "TEMP"});
  for (const Device& device : devices) {
    table.add({device.name + (device.self ? " (this)" : ""),
               device.leaving ? "leaving" : device.state, device.leader ? "leader" : "member",
               memory_bar(device), number(device.read_gb_per_s),
               number(device.temperature_c, " C")});
  }
  return table.to_string(colour);
}

std::string name_of(const std::vector<Device>& devices, const std::string& id) {
  const auto found = std::find_if(devices.begin(), devices.end(),
                                  [&](const Device& device) { return device.id == id; });
  return found == devices.end() ? id.substr(0, 12) : found->name;
}

std::string link_table(const std::vector<Device>& devices, bool colour) {
  Table table({"LINK", "OVER", "RTT", "MBIT/S"});
  bool any = false;
  for (const Device& device : devices) {
    for (const Link& link : device.links) {
      any = true;
      table.add({fmt::format("{} > {}", device.name, name_of(devices, link.peer)),
                 fmt::format("{} {}", link.transport, link.kind), number(link.rtt_us_p50, " us"),
                 number(link.bandwidth_mbit_per_s)});
    }
  }
  return any ? "\n" + table.to_string(colour) : "";
}

std::string state_of(const Instance& instance) {
  if (instance.state != "loading" || instance.total_layers == 0) return instance.state;
  return fmt::format("loading {}/{}", instance.layers_loaded, instance.total_layers);
}

std::string instance_table(const std::vector<Instance>& instances, bool colour) {
  if (instances.empty()) return "\nno instances; 'cohort run MODEL' starts one\n";
  Table table({"INSTANCE", "MODEL", "STATE", "ON", "TOK/S", "PREDICTED", "RUNNING", "QUEUED",
               "TOKENS", "HEALS", "NOTE"});
  for (const Instance& instance : instances) {
    std::string on = instance.sharding + ":";
    for (const Member& member : instance.members) on += " " + member.name;
    table.add({instance.instance.substr(0, 12), instance.model, state_of(instance), on,
               number(instance.achieved_decode_tokens_per_s),
               number(instance.predicted_decode_tokens_per_s), std::to_string(instance.running),
               std::to_string(instance.queued), std::to_string(instance.generated_tokens),
               std::to_string(instance.heals), instance.reason});
  }
  return "\n" + table.to_string(colour);
}

std::string summary(const View& view) {
  const auto alive = std::count_if(view.devices.begin(), view.devices.end(),
                                   [](const Device& device) { return device.state == "alive"; });
  int32_t requests = 0;
  for (const Instance& instance : view.instances) requests += instance.requests;
  return fmt::format("cohort: {} of {} devices alive, {} instances, {} requests\n\n", alive,
                     view.devices.size(), view.instances.size(), requests);
}

std::string frame(const View& view, bool colour) {
  return summary(view) + device_table(view.devices, colour) + link_table(view.devices, colour) +
         instance_table(view.instances, colour);
}

// --- the screen

// A terminal of its own: keys come at once and unseen, long lines are cut; all is as before when it ends.
class Screen {
 public:
  Screen() : has_keys_(::tcgetattr(0, &before_) == 0) {
    termios raw = before_;
    raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
    if (has_keys_) ::tcsetattr(0, TCSANOW, &raw);
    fmt::print("\033[?1049h\033[?25l\033[?7l");
  }
  ~Screen() {
    fmt::print("\033[?7h\033[?25h\033[?1049l");
    std::fflush(stdout);
    if (has_keys_) ::tcsetattr(0, TCSANOW, &before_);
  }
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  // As many lines as there is room for, over what was there.
  void draw(const std::string& text) {
    winsize size{};
    ::ioctl(1, TIOCGWINSZ, &size);
    std::string out = "\033[H";
    size_t at = 0;
    for (int row = 1; at < text.size() && (size.ws_row == 0 || row < size.ws_row); ++row) {
      const size_t end = std::min(text.find('\n', at), text.size());
      out += text.substr(at, end - at) + "\033[K\n";
      at = end + 1;
    }
    fmt::print("{}\033[J", out);
    std::fflush(stdout);
  }

  // Waits for the time of the next frame. True: it is enough.
  bool wait() {
    pollfd waiting{has_keys_ ? 0 : -1, POLLIN, 0};
    if (::poll(&waiting, 1, kRedrawMs) <= 0) return interrupted();
    char key = 0;
    if (::read(0, &key, 1) <= 0) has_keys_ = false;
    return key == 'q' || key == 'Q' || interrupted();
  }

 private:
  termios before_{};
  bool has_keys_;
};

int show_once(ApiClient& client, bool json) {
  const Result<Json> fetched = fetch(client);
  if (!fetched) return report(fetched.error());
  if (json) return print_json(*fetched);
  const Result<View> view = from_json<View>(*fetched);
  if (!view) return report(view.error());
  fmt::print("{}", frame(*view, wants_colour(1)));
  return kExitFine;
}

std::string next_frame(ApiClient& client) {
  const Result<Json> fetched = fetch(client);
  const Result<View> view =
      fetched ? from_json<View>(*fetched) : Result<View>(tl::unexpected(fetched.error()));
  return (view ? frame(*view, wants_colour(1)) : view.error().message + "\n") + "\nq quits\n";
}

}  // namespace

int top(const Common& common, bool once) {
  watch_interrupt();
  ApiClient client(common);
  if (once || common.json || !is_terminal(1)) return show_once(client, common.json);
  Screen screen;
  do {
    screen.draw(next_frame(client));
  } while (!screen.wait());
  return interrupted() ? kExitInterrupted : kExitFine;
}

}  // namespace cohort::cli
