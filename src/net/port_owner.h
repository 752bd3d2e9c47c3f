#pragma once

#include <cstdint>
#include <string>

namespace cohort::net {

// Who listens on a TCP port of this machine: "pid 4711 (nginx)"; "" when the system does not tell.
std::string port_owner(uint16_t port);

}  // namespace cohort::net
