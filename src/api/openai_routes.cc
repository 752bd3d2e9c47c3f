#include <memory>
#include <utility>

#include "api/json_reply.h"
#include "api/openai.h"
#include "api/routes.h"

namespace cohort::api {
namespace {

Json model_json(const node::ModelListing& model) {
  return Json{{"id", model.name},
              {"object", "model"},
              {"created", model.created_unix_seconds},
              {"owned_by", model.owned_by},
              {"size_bytes", model.size_bytes}};
}

// Models on this device, and those that run here under names the catalogue does not list.
net::Task<std::vector<node::ModelListing>> all_models(node::Node& node) {
  std::vector<node::ModelListing> models = co_await node.models();
  for (const node::InstanceStatus& instance : node.instances()) {
    const bool listed = std::any_of(models.begin(), models.end(), [&](const auto& model) {
      return model.name == instance.model;
    });
    if (!listed)
      models.push_back({.name = instance.model, .size_bytes = instance.shard.weight_bytes});
  }
  co_return models;
}

net::Task<void> list_models(node::Node& node, net::ResponseWriter& writer) {
  const auto models = co_await all_models(node);
  Json data = Json::array();
  for (const auto& model : models) data.push_back(model_json(model));
  const Json reply{{"object", "list"}, {"data", std::move(data)}};
  net::HttpResponse response = json_reply(reply);
  co_await writer.send(std::move(response));
}

net::Task<void> show_model(node::Node& node, std::string name, net::ResponseWriter& writer) {
  const auto models = co_await all_models(node);
  for (const auto& model : models) {
    if (model.name != name) continue;
    net::HttpResponse response = json_reply(model_json(model));
    co_await writer.send(std::move(response));
    co_return;
  }
  const Error error{Code::kNotFound, "there is no model '" + name + "' on this device"};
  net::HttpResponse response = openai_error_response(error);
  co_await writer.send(std::move(response));
}

Router::Handler answering(node::Node& node, std::shared_ptr<const Dialect> dialect,
                          AnswerOptions options) {
  return [&node, dialect = std::move(dialect), options](net::HttpRequest request, std::string,
                                                        net::ResponseWriter& writer) {
    return answer(node, *dialect, options, std::move(request), writer);
  };
}

}  // namespace

void add_openai_routes(Router& router, node::Node& node, AnswerOptions options) {
  // Shared because a std::function must be copyable; dialects are immutable.
  router.add("POST", "/v1/chat/completions", answering(node, openai_chat(), options));
  router.add("POST", "/v1/completions", answering(node, openai_completions(), options));
  router.add("GET", "/v1/models",
             [&node](net::HttpRequest, std::string, net::ResponseWriter& writer) {
               return list_models(node, writer);
             });
  router.add("GET", "/v1/models/*",
             [&node](net::HttpRequest, std::string name, net::ResponseWriter& writer) {
               return show_model(node, std::move(name), writer);
             });
}

}  // namespace cohort::api
