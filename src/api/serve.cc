#include "api/serve.h"

#include <sys/resource.h>

#include <csignal>
#include <fstream>
#include <optional>
#include <utility>

#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>

#include "api/router.h"
#include "api/routes.h"
#include "base/log.h"

namespace cohort::api {
namespace {

// Connections need descriptors; many systems start a process with 1,024.
void raise_descriptor_limit() {
  constexpr rlim_t kWanted = 16'384;
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= kWanted) return;
  limit.rlim_cur =
      limit.rlim_max == RLIM_INFINITY ? kWanted : std::min<rlim_t>(kWanted, limit.rlim_max);
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

Router make_router(const ServeOptions& options, bool loopback_only, node::Node& node,
                   node::ModelCatalog catalog) {
  Router router(Guard({.api_keys = options.api_keys,
                       .cors_origins = options.cors_origins,
                       .loopback_only = loopback_only}));
  add_probe_routes(router, node);
  add_openai_routes(router, node,
                    {.keep_alive = options.keep_alive, .request_timeout = options.request_timeout});
  add_cohort_routes(router, node);
  add_event_routes(router, node, options.keep_alive);
  add_exo_routes(router, node, {std::move(catalog), options.keep_alive});
  return router;
}

}  // namespace

Result<std::vector<std::string>> read_api_keys(const std::string& path) {
  std::ifstream file(path);
  if (!file) return fail(Code::kInvalidArgument, "cannot read the API keys in {}", path);
  std::vector<std::string> keys;
  for (std::string line; std::getline(file, line);) {
    const size_t first = line.find_first_not_of(" \t\r");
    if (first == std::string::npos || line[first] == '#') continue;
    keys.push_back(line.substr(first, line.find_last_not_of(" \t\r") - first + 1));
  }
  if (keys.empty()) return fail(Code::kInvalidArgument, "there is no API key in {}", path);
  return keys;
}

struct Daemon::State {
  explicit State(ServeOptions given)
      : options(std::move(given)),
        stopping(loop.get_executor()),
        signals(loop),
        tasks(loop.get_executor()) {}

  net::Task<void> live();
  net::Task<void> watch_drain(net::TimePoint deadline, bool& drained);
  net::Task<void> watch_signals();
  void request_stop() {
    ++stops;
    stopping.notify_all();
  }

  ServeOptions options;
  net::Loop loop{1};
  std::unique_ptr<node::Node> node;
  std::optional<Router> router;
  std::optional<net::HttpServer> server;
  int stops = 0;  // 1: in order; 2: at once
  net::Notification stopping;
  net::asio::signal_set signals;
  net::TaskGroup tasks;
};

Result<std::unique_ptr<Daemon>> Daemon::create(ServeOptions options, node::ModelCatalog catalog) {
  raise_descriptor_limit();
  auto state = std::make_unique<State>(std::move(options));
  State& s = *state;
  if (s.options.api) {
    s.server.emplace(s.loop.get_executor(), s.options.http,
                     [&s](net::HttpRequest request, net::ResponseWriter& writer) {
                       return s.router->handle(std::move(request), writer);
                     });
    COHORT_TRY_VOID(s.server->listen(s.options.host, s.options.port));
  }
  COHORT_TRY(s.node, node::Node::create(s.loop.get_executor(), s.options.node, catalog));
  if (s.options.api) {
    s.router.emplace(
        make_router(s.options, s.server->loopback_only(), *s.node, std::move(catalog)));
  }
  return std::unique_ptr<Daemon>(new Daemon(std::move(state)));
}

Daemon::Daemon(std::unique_ptr<State> state) : state_(std::move(state)) {}
Daemon::~Daemon() = default;

uint16_t Daemon::port() const { return state_->server ? state_->server->port() : 0; }
node::Node& Daemon::node() { return *state_->node; }

void Daemon::stop() {
  net::asio::post(state_->loop, [state = state_.get()] { state->request_stop(); });
}

void Daemon::run(bool signals) {
  State& state = *state_;
  if (signals) {
    state.signals.add(SIGINT);
    state.signals.add(SIGTERM);
    state.tasks.spawn(state.watch_signals());
  }
  state.tasks.spawn(state.live());
  state.loop.run();
}

net::Task<void> Daemon::State::watch_signals() {
  for (;;) {
    const auto [error, number] = co_await signals.async_wait(net::kAsTuple);
    if (error) co_return;
    log::info("signal {}: {}", number,
              stops == 0 ? "finishing what runs (once more: at once)" : "ending at once");
    request_stop();
  }
}

// The drain ends early when nothing runs any more, or at a second stop.
net::Task<void> Daemon::State::watch_drain(net::TimePoint deadline, bool& drained) {
  co_await node->drain(deadline);
  drained = true;
  stopping.notify_all();
}

net::Task<void> Daemon::State::live() {
  options.on_listening(server ? server->port() : 0);
  while (stops == 0) co_await stopping.wait_uncancelled();
  bool drained = false;
  net::TaskGroup drain(loop.get_executor());
  drain.spawn(watch_drain(net::Clock::now() + options.drain_timeout, drained));
  while (!drained && stops < 2) co_await stopping.wait_uncancelled();
  co_await drain.close();
  co_await node->close();  // streams that are left get their error event
  constexpr std::chrono::seconds kLastBytes{2};
  if (server) co_await server->close(net::Clock::now() + kLastBytes);
  signals.cancel();
}

Result<int> serve(ServeOptions options, node::ModelCatalog catalog) {
  COHORT_TRY(const auto daemon, Daemon::create(std::move(options), std::move(catalog)));
  daemon->run(true);
  return 0;
}

}  // namespace cohort::api
