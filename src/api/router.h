#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "api/guard.h"
#include "net/http.h"
#include "net/task.h"

namespace cohort::api {

// Finds the handler for a method and a path. Guarded: a request the guard refuses reaches no handler.
class Router {
 public:
  // `rest` is the decoded part of the path that a pattern's final "*" stands for.
  using Handler =
      std::function<net::Task<void>(net::HttpRequest, std::string rest, net::ResponseWriter&)>;

  explicit Router(Guard guard) : guard_(std::move(guard)) {}

  // GET answers HEAD too. Patterns are exact, or end in "/*". The first that matches is taken.
  void add(std::string method, std::string pattern, Handler handler);

  net::Task<void> handle(net::HttpRequest request, net::ResponseWriter& writer) const;

 private:
  struct Route {
    std::string method;
    std::string pattern;
    Handler handler;
  };
  const Route* find(const net::HttpRequest& request, std::string& allowed) const;

  Guard guard_;
  std::vector<Route> routes_;
};

}  // namespace cohort::api
