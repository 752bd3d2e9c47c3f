#include "net/http_client.h"

#include <curl/curl.h>

#include <utility>

#include "base/bytes.h"
#include "base/check.h"

namespace cohort::net {
namespace {

using OnLine = std::function<bool(std::string_view)>;

constexpr size_t kMaxLineBytes = 64u << 20;
constexpr size_t kMaxHeaderCount = 256;

struct Exchange {
  CURL* curl = nullptr;
  HttpReply reply;
  const OnLine* on_line = nullptr;  // null: collect the body
  std::string partial_line;
  bool stopped = false;  // on_line had enough
  bool too_large = false;
  const std::atomic<bool>* interrupted = nullptr;

  bool wants_lines() {
    long status = 0;
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    return on_line != nullptr && status >= 200 && status < 300;
  }

  bool take_lines(std::string_view bytes) {
    partial_line += bytes;
    size_t begin = 0;
    for (size_t end; (end = partial_line.find('\n', begin)) != std::string::npos; begin = end + 1) {
      std::string_view line = std::string_view(partial_line).substr(begin, end - begin);
      if (line.ends_with('\r')) line.remove_suffix(1);
      stopped = !(*on_line)(line);
      if (stopped) return false;
    }
    partial_line.erase(0, begin);
    too_large = partial_line.size() > kMaxLineBytes;
    return !too_large;
  }
};

size_t on_body(char* data, size_t size, size_t count, void* user) {
  auto& exchange = *static_cast<Exchange*>(user);
  const std::string_view bytes(data, size * count);
  if (exchange.wants_lines()) return exchange.take_lines(bytes) ? bytes.size() : 0;
  exchange.too_large = exchange.reply.body.size() + bytes.size() > HttpClient::kMaxReplyBytes;
  if (exchange.too_large) return 0;
  exchange.reply.body += bytes;
  return bytes.size();
}

size_t on_header(char* data, size_t size, size_t count, void* user) {
  auto& exchange = *static_cast<Exchange*>(user);
  std::string_view line(data, size * count);
  while (line.ends_with('\n') || line.ends_with('\r')) line.remove_suffix(1);
  const size_t colon = line.find(':');
  if (colon == std::string_view::npos || exchange.reply.headers.size() >= kMaxHeaderCount)
    return size * count;
  std::string_view value = line.substr(colon + 1);
  while (value.starts_with(' ')) value.remove_prefix(1);
  exchange.reply.headers.push_back({std::string(line.substr(0, colon)), std::string(value)});
  return size * count;
}

int on_progress(void* user, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  const auto& exchange = *static_cast<Exchange*>(user);
  return exchange.interrupted != nullptr && exchange.interrupted->load() ? 1 : 0;
}

void initialise_once() {
  static const bool done = [] {
    curl_global_init(CURL_GLOBAL_DEFAULT);
    return true;
  }();
  COHORT_CHECK(done);
}

struct HeaderList {
  ~HeaderList() { curl_slist_free_all(list); }
  void add(const std::string& line) { list = curl_slist_append(list, line.c_str()); }
  curl_slist* list = nullptr;
};

}  // namespace

struct HttpClient::State {
  HttpClientOptions options;
  CURL* curl = nullptr;

  Result<HttpReply> perform(const HttpCall& call, const OnLine* on_line);
  void set_options(const HttpCall& call, const std::string& url, const HeaderList& headers,
                   Exchange& exchange);
  Error explain(CURLcode code, const Exchange& exchange) const;
};

HttpClient::HttpClient(HttpClientOptions options) : state_(std::make_unique<State>()) {
  initialise_once();
  while (options.base_url.ends_with('/')) options.base_url.pop_back();
  state_->options = std::move(options);
  state_->curl = curl_easy_init();
  COHORT_CHECK(state_->curl != nullptr);
}
HttpClient::HttpClient(HttpClient&&) noexcept = default;
HttpClient& HttpClient::operator=(HttpClient&&) noexcept = default;
HttpClient::~HttpClient() {
  if (state_) curl_easy_cleanup(state_->curl);
}

const HttpClientOptions& HttpClient::options() const { return state_->options; }

void HttpClient::State::set_options(const HttpCall& call, const std::string& url,
                                    const HeaderList& headers, Exchange& exchange) {
  curl_easy_reset(curl);
  curl_easy_setopt(curl, CURLOPT_URL, url.c_str());
  curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, call.method.c_str());
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers.list);
  if (!call.body.empty() || call.method == "POST") {
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, call.body.data());
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(call.body.size()));
  }
  if (call.method == "HEAD") curl_easy_setopt(curl, CURLOPT_NOBODY, 1L);
  curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl, CURLOPT_NOPROXY, "localhost,127.0.0.1,::1");
  curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS,
                   static_cast<long>(options.connect_timeout.count()));
  curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, static_cast<long>(options.timeout.count()));
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(curl, CURLOPT_WRITEDATA, &exchange);
  curl_easy_setopt(curl, CURLOPT_HEADERFUNCTION, on_header);
  curl_easy_setopt(curl, CURLOPT_HEADERDATA, &exchange);
  curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress);
  curl_easy_setopt(curl, CURLOPT_XFERINFODATA, &exchange);
}

Error HttpClient::State::explain(CURLcode code, const Exchange& exchange) const {
  switch (code) {
    case CURLE_COULDNT_CONNECT:
    case CURLE_COULDNT_RESOLVE_HOST:
      return {Code::kUnavailable,
              fmt::format("no device answers at {} ({}); start one with: cohort serve",
                          options.base_url, curl_easy_strerror(code))};
    case CURLE_OPERATION_TIMEDOUT:
      return {Code::kTimeout, fmt::format("{} did not answer in time", options.base_url)};
    case CURLE_ABORTED_BY_CALLBACK: return {Code::kCancelled, "interrupted"};
    case CURLE_WRITE_ERROR:
      if (exchange.too_large)
        return {Code::kTooLarge, fmt::format("the reply of {} is too large", options.base_url)};
      break;
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
      return {Code::kInvalidArgument,
              fmt::format("'{}' is not an http:// address", options.base_url)};
    default: break;
  }
  return {Code::kUnavailable, fmt::format("the connection to {} broke: {}", options.base_url,
                                          curl_easy_strerror(code))};
}

Result<HttpReply> HttpClient::State::perform(const HttpCall& call, const OnLine* on_line) {
  Exchange exchange{.curl = curl, .on_line = on_line, .interrupted = options.interrupted};
  HeaderList headers;
  if (!find_header(call.headers, "Content-Type")) headers.add("Content-Type: application/json");
  if (!options.api_key.empty()) headers.add("Authorization: Bearer " + options.api_key);
  headers.add("Expect:");
  for (const Header& header : call.headers) headers.add(header.name + ": " + header.value);
  const std::string url = options.base_url + call.path;
  set_options(call, url, headers, exchange);
  const CURLcode code = curl_easy_perform(curl);
  if (code != CURLE_OK && !exchange.stopped) return tl::unexpected(explain(code, exchange));
  long status = 0;
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
  exchange.reply.status = static_cast<int>(status);
  if (!exchange.partial_line.empty() && !exchange.stopped) (*on_line)(exchange.partial_line);
  return std::move(exchange.reply);
}

Result<HttpReply> HttpClient::call(const HttpCall& call) { return state_->perform(call, nullptr); }

Result<HttpReply> HttpClient::stream_lines(const HttpCall& call, const OnLine& on_line) {
  return state_->perform(call, &on_line);
}

}  // namespace cohort::net
