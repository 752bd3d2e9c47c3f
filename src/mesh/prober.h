// Decides when which path is measured, agrees on it with the other end, and keeps the results. One measurement at a time;
// none while something runs that it would disturb. Loop thread only.
//
// The device with the smaller id offers a measurement over the link (with a token); the other accepts or refuses. The one
// that dialed the link dials the measurement's own connection too, in the open, and shows the token there.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "mesh/mesh.h"
#include "mesh/path_probe.h"
#include "mesh/secure_socket.h"
#include "net/task.h"

namespace cohort::mesh {

inline constexpr size_t kProbeTokenBytes = 16;

struct ProbePath {
  std::string peer;
  std::string address;
  uint16_t mesh_port = 0;
  std::string kind;
  bool we_offer = false;
  bool we_dial = false;
};

struct ProberEvents {
  std::function<bool(const std::string& peer, std::string_view message)> send;
  std::function<void(const std::string& peer)> measured;
  std::function<bool()> busy;
};

class Prober {
 public:
  static constexpr std::chrono::milliseconds kFirstAfter{300};  // a link is up
  static constexpr std::chrono::minutes kAgain{10};
  static constexpr std::chrono::milliseconds kRefusedPause{400};  // and up to twice that
  static constexpr std::chrono::seconds kFailedPause{5};          // times failures, up to kAgain
  static constexpr std::chrono::seconds kTimeout{10};             // of one measurement

  Prober(net::Executor executor, ProberEvents events);
  Prober(const Prober&) = delete;
  Prober& operator=(const Prober&) = delete;

  void link_up(ProbePath path);
  void link_lost(const std::string& peer);
  void on_message(const std::string& peer, std::string_view message);
  void take(tcp::socket socket, std::string_view token);  // a measurement's connection has come
  void tick(net::TimePoint now);
  std::vector<LinkStatus> results() const;
  net::Task<void> close();

 private:
  struct Path {
    ProbePath path;
    LinkStatus status;
    int failures = 0;
    net::TimePoint next;
  };
  struct Session {
    std::string peer, token;
    bool first = false;  // our part: we dialed
    bool running = false;
    int socket = -1;  // open while running; owned by measure()
    net::TimePoint deadline;
  };

  void offer(Path& path);
  void begin(const Path& path, std::string_view token);
  void retry(Path& path, bool refused);
  net::Task<void> dial(std::string address, uint16_t port, std::string token);
  net::Task<void> measure(tcp::socket socket, std::string token);
  void finish(const Result<PathFigures>& figures);
  bool is_current(std::string_view token) const;
  void interrupt();
  bool is_busy() const { return session_.has_value() || events_.busy(); }

  net::Executor executor_;
  ProberEvents events_;
  std::map<std::string, Path, std::less<>> paths_;
  std::optional<Session> session_;
  net::TaskGroup tasks_;
};

}  // namespace cohort::mesh
