// tokenize, template, version: what a model sees, without running it.
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <sstream>

#include "cli/commands.h"
#include "cli/input.h"
#include "cli/model_store.h"
#include "cli/terminal.h"
#include "runner/model_files.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace cohort::cli {
namespace {

Result<std::unique_ptr<text::Tokenizer>> open_tokenizer(const std::string& source) {
  COHORT_TRY(const runner::ModelFiles files, runner::read_model_files(source));
  if (files.tokenizer.empty()) return fail(Code::kNotFound, "{} has no tokenizer.json", source);
  return text::load_tokenizer(files.tokenizer);
}

Result<std::vector<text::TokenId>> parse_ids(const std::string& text) {
  std::vector<text::TokenId> ids;
  std::string cleaned = text;
  for (char& c : cleaned) {
    if (c == ',' || c == '[' || c == ']') c = ' ';
  }
  std::istringstream words(cleaned);
  for (std::string word; words >> word;) {
    const Result<Json> number = parse_json(word);
    if (!number || !number->is_number_integer())
      return fail(Code::kInvalidArgument, "'{}' is not a token id", word);
    COHORT_TRY(const text::TokenId id, from_json<text::TokenId>(*number, word));
    ids.push_back(id);
  }
  return ids;
}

void print_tokens(const text::Tokenizer& tokenizer, const std::vector<text::TokenId>& ids,
                  bool json) {
  if (json) {
    Json array = Json::array();
    for (const text::TokenId id : ids)
      array.push_back(Json{{"id", id}, {"piece", tokenizer.id_to_token(id)}});
    fmt::print("{}\n", dump_json(array));
    return;
  }
  Table table({"ID", "PIECE"});
  for (const text::TokenId id : ids) table.add({std::to_string(id), tokenizer.id_to_token(id)});
  fmt::print("{}{} tokens\n", table.to_string(wants_colour(1)), ids.size());
}

Result<void> tokenize_or_fail(const Common& common, const StoreOptions& store,
                              const TokenizeOptions& options) {
  COHORT_TRY(const std::string source, model_source(store, options.model));
  COHORT_TRY(const auto tokenizer, open_tokenizer(source));
  const std::string text = options.text ? *options.text : read_standard_input();
  if (!options.decode) {
    print_tokens(*tokenizer, tokenizer->encode(text, true), common.json);
    return {};
  }
  COHORT_TRY(const std::vector<text::TokenId> ids, parse_ids(text));
  const std::string decoded = tokenizer->decode(ids, false);
  fmt::print("{}\n", common.json ? dump_json(Json{{"text", decoded}}) : decoded);
  return {};
}

Result<void> render_or_fail(const StoreOptions& store, const std::string& model,
                            const std::filesystem::path& request) {
  COHORT_TRY(const std::string source, model_source(store, model));
  COHORT_TRY(const runner::ModelFiles files, runner::read_model_files(source));
  COHORT_TRY(const auto chat_template,
             text::ChatTemplate::load(files.tokenizer_config, files.chat_template));
  COHORT_TRY(const std::string body, read_input(request));
  COHORT_TRY(const Json json, parse_json(body));
  text::ChatTemplateInput input;
  input.messages = json.is_array() ? json : json.value("messages", Json::array());
  if (json.is_object()) {
    input.tools = json.value("tools", Json());
    input.add_generation_prompt = json.value("add_generation_prompt", true);
    input.extra = json.value("chat_template_kwargs", Json::object());
  }
  input.now_unix_seconds = std::chrono::duration_cast<std::chrono::seconds>(
                               std::chrono::system_clock::now().time_since_epoch())
                               .count();
  COHORT_TRY(const std::vector<text::TextSpan> spans, chat_template.render(input));
  for (const text::TextSpan& span : spans)
    std::fwrite(span.text.data(), 1, span.text.size(), stdout);
  return {};
}

}  // namespace

std::string read_standard_input() {
  std::string text;
  char buffer[65536];
  for (size_t count; (count = std::fread(buffer, 1, sizeof(buffer), stdin)) > 0;)
    text.append(buffer, count);
  return text;
}

Result<std::string> read_input(const std::filesystem::path& path) {
  if (path == "-") return read_standard_input();
  std::ifstream file(path, std::ios::binary);
  if (!file) return fail(Code::kNotFound, "cannot read {}", path.string());
  return std::string(std::istreambuf_iterator<char>(file), {});
}

int tokenize(const Common& common, const StoreOptions& store, const TokenizeOptions& options) {
  const Result<void> done = tokenize_or_fail(common, store, options);
  return done ? kExitFine : report(done.error());
}

int render_template(const Common&, const StoreOptions& store, const std::string& model,
                    const std::filesystem::path& request) {
  const Result<void> done = render_or_fail(store, model, request);
  return done ? kExitFine : report(done.error());
}

int version(const Common& common) {
  if (common.json) {
    fmt::print("{}\n", dump_json(Json{{"version", COHORT_VERSION}}));
  } else {
    fmt::print("cohort {}\n", COHORT_VERSION);
  }
  return kExitFine;
}

}  // namespace cohort::cli
