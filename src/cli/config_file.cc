#include "cli/config_file.h"

#include <cstdlib>

#include <toml++/toml.h>

namespace cohort::cli {
namespace {

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

Result<std::string> text_of(const toml::node& node, std::string_view key) {
  if (const auto* text = node.as_string()) return text->get();
  if (const auto* number = node.as_integer()) return std::to_string(number->get());
  if (const auto* number = node.as_floating_point()) return fmt::format("{}", number->get());
  if (const auto* flag = node.as_boolean()) return std::string(flag->get() ? "true" : "false");
  return fail(Code::kInvalidArgument,
              "config key '{}' must be a string, number, boolean or an array of those", key);
}

// The library throws; here it is caught.
Result<toml::table> parse(const std::filesystem::path& path) {
  try {
    return toml::parse_file(path.string());
  } catch (const toml::parse_error& error) {
    return fail(Code::kInvalidArgument, "{}:{}:{}: {}", path.string(), error.source().begin.line,
                error.source().begin.column, error.description());
  }
}

}  // namespace

std::filesystem::path config_dir() {
#ifdef __APPLE__
  return std::filesystem::path(environment("HOME")) / "Library/Application Support/cohort";
#else
  const std::string xdg = environment("XDG_CONFIG_HOME");
  if (!xdg.empty()) return std::filesystem::path(xdg) / "cohort";
  return std::filesystem::path(environment("HOME")) / ".config/cohort";
#endif
}

Result<std::map<std::string, std::vector<std::string>>> read_config_file(
    const std::filesystem::path& path) {
  std::map<std::string, std::vector<std::string>> values;
  std::error_code ignored;
  if (!std::filesystem::exists(path, ignored)) return values;
  COHORT_TRY(const toml::table table, parse(path));
  for (const auto& [key, node] : table) {
    std::vector<std::string>& texts = values[std::string(key.str())];
    if (const auto* array = node.as_array()) {
      for (const toml::node& item : *array) {
        COHORT_TRY(std::string text, text_of(item, key.str()));
        texts.push_back(std::move(text));
      }
    } else {
      COHORT_TRY(std::string text, text_of(node, key.str()));
      texts.push_back(std::move(text));
    }
  }
  return values;
}

}  // namespace cohort::cli
