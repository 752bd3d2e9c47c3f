// What happens in the cluster: a list of what is remembered, or a stream of that and of all that comes.
#include <algorithm>
#include <charconv>
#include <map>
#include <utility>

#include "api/event_stream.h"
#include "api/json_reply.h"
#include "api/routes.h"
#include "base/clock.h"

namespace cohort::api {
namespace {

Json event_json(const node::ClusterEvent& event) {
  return Json{{"number", event.number > 0 ? Json(event.number) : Json(nullptr)},
              {"unix_ms", event.unix_ms},
              {"kind", event.kind},
              {"subject", event.subject},
              {"what", event.what}};
}

// The number of the last event a client that comes back has seen.
uint64_t last_seen(const net::HttpRequest& request) {
  const std::string* text = request.header("Last-Event-ID");
  uint64_t number = 0;
  if (text != nullptr) std::from_chars(text->data(), text->data() + text->size(), number);
  return number;
}

// One listener's view: what it was told last, and what is news to it.
class Follower {
 public:
  Follower(const node::Node& node, uint64_t seen) : node_(node), seen_(seen) {}

  // Remembered events, each with its number, then changes of instances, which nobody remembers and which have none.
  std::vector<node::ClusterEvent> news() {
    std::vector<node::ClusterEvent> found;
    for (const node::ClusterEvent& event : node_.cluster().shell().events()) {
      if (event.number > seen_) found.push_back(event);
    }
    if (!found.empty()) seen_ = found.back().number;
    std::map<std::string, std::string> now;
    for (const node::InstanceStatus& instance : node_.instances())
      now[instance.id] = instance.state;
    for (const auto& [id, state] : now) {
      if (states_[id] != state) found.push_back(instance_event(id, state));
    }
    for (const auto& [id, state] : states_) {
      if (!now.contains(id)) found.push_back(instance_event(id, "gone"));
    }
    states_ = std::move(now);
    return found;
  }

 private:
  static node::ClusterEvent instance_event(const std::string& id, const std::string& state) {
    return {.unix_ms = unix_ms(), .kind = "instance", .subject = id, .what = state};
  }

  const node::Node& node_;
  uint64_t seen_;
  std::map<std::string, std::string> states_;  // of instances, by id
};

net::Task<void> list_events(node::Node& node, net::ResponseWriter& writer) {
  Json reply = Json::array();
  for (const auto& event : node.cluster().shell().events()) reply.push_back(event_json(event));
  net::HttpResponse response = json_reply(reply);
  co_await writer.send(std::move(response));
}

// Until the client or this device goes.
net::Task<void> follow_events(node::Node& node, uint64_t seen, std::chrono::milliseconds keep_alive,
                              net::ResponseWriter& writer) {
  EventStream stream(writer);
  Follower follower(node, seen);
  if (!co_await stream.start()) co_return;
  while (!node.draining()) {
    const std::vector<node::ClusterEvent> news = follower.news();
    for (const node::ClusterEvent& event : news) {
      Json told = event_json(event);
      if (!co_await stream.send(std::move(told), event.number)) co_return;
    }
    if (!news.empty()) continue;  // more may have come meanwhile
    const net::Wake wake = co_await node.changed().wait(net::Clock::now() + keep_alive);
    if (wake == net::Wake::kCancelled) co_return;
    if (wake == net::Wake::kTimeout && !co_await stream.keep_alive()) co_return;
  }
  co_await stream.finish();
}

}  // namespace

void add_event_routes(Router& router, node::Node& node, std::chrono::milliseconds keep_alive) {
  router.add(
      "GET", "/cohort/events",
      [&node, keep_alive](net::HttpRequest request, std::string, net::ResponseWriter& writer) {
        if (!accepts_events(request)) return list_events(node, writer);
        return follow_events(node, last_seen(request), keep_alive, writer);
      });
}

}  // namespace cohort::api
