// The mesh port.
#pragma once

#include <cstdint>
#include <list>
#include <string>

#include <boost/asio/ip/tcp.hpp>

#include "base/result.h"
#include "net/task.h"

namespace cohort::mesh {

struct ListeningPort {
  std::list<boost::asio::ip::tcp::acceptor> acceptors;
  uint16_t port = 0;
};

// Every address `host` stands for ("": all); a port that is taken gives the next free one. kUnavailable: so many are taken.
Result<ListeningPort> listen_near(net::Executor executor, const std::string& host, uint16_t port);

}  // namespace cohort::mesh
