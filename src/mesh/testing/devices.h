// Meshes for tests: several in one loop, over loopback, with what they report written down.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "mesh/mesh.h"

namespace cohort::mesh::testing {

struct Device {
  Device(net::Loop& loop, MeshOptions options);
  static MeshOptions options(std::string name = "device",
                             uint64_t boot = 1);  // no beacons, loopback, port 0

  const std::string& id() const { return mesh->id(); }
  std::string place() const { return fmt::format("127.0.0.1:{}", mesh->port()); }
  bool linked_with(const Device& other) const { return mesh->find(other.id()) != nullptr; }

  std::vector<std::pair<std::string, std::string>> messages;  // from whom, what
  std::vector<std::unique_ptr<Stream>> streams;               // that peers opened
  std::vector<std::string> ups, downs, whys, closed, measured;
  bool busy = false;
  std::function<std::set<std::string>(const std::set<std::string>&)> dispensable = [](const auto&) {
    return std::set<std::string>();
  };
  std::unique_ptr<Mesh> mesh;  // last: it calls back
};

uint16_t free_port();  // was so a moment ago

// Runs the loop until `done`, at most so long; true when done.
bool run_for(net::Loop& loop, std::chrono::milliseconds time, const std::function<bool()>& done);

// Runs the loop until `done` or half a minute has passed; true when done.
bool run_until(net::Loop& loop, const std::function<bool()>& done);

// Runs the task to its end.
void run(net::Loop& loop, net::Task<void> task);
template <class T>
net::Task<void> into(net::Task<T> task, T* result) {
  *result = co_await std::move(task);
}
template <class T>
T get(net::Loop& loop, net::Task<T> task) {
  T result{};
  run(loop, into(std::move(task), &result));
  return result;
}

// Kept alive until the last line of a test, then closed with all others.
void close_all(net::Loop& loop, std::vector<Device*> devices);

}  // namespace cohort::mesh::testing
