#include "hub/transfers.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <mutex>

#include <curl/curl.h>

#include "base/check.h"

namespace cohort::hub {
namespace {

using Clock = std::chrono::steady_clock;

constexpr long kMaxRedirects = 8;

struct CurlFree {
  void operator()(CURL* easy) const { curl_easy_cleanup(easy); }
};

bool header_is(std::string_view line, std::string_view name) {
  return line.size() > name.size() && line[name.size()] == ':' &&
         std::equal(name.begin(), name.end(), line.begin(),
                    [](char a, char b) { return a == (b >= 'A' && b <= 'Z' ? b + 32 : b); });
}

std::string_view value_of(std::string_view line) {
  line.remove_prefix(line.find(':') + 1);
  const size_t begin = line.find_first_not_of(" \t");
  const size_t end = line.find_last_not_of(" \t\r\n");
  return begin == line.npos ? "" : line.substr(begin, end - begin + 1);
}

std::optional<uint64_t> parse_number(std::string_view text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end != text.data() ? std::optional(value) : std::nullopt;
}

// The address in <...>; rel="next", or "".
std::string next_link(std::string_view value) {
  const size_t rel = value.find("rel=\"next\"");
  if (rel == value.npos) return "";
  const size_t begin = value.rfind('<', rel), end = value.find('>', begin);
  return begin == value.npos || end == value.npos
             ? ""
             : std::string(value.substr(begin + 1, end - begin - 1));
}

struct Transfer {
  uint64_t id = 0;
  TransferRequest request;
  TransferResult result;
  std::unique_ptr<CURL, CurlFree> easy;
  std::optional<uint64_t> range_start;  // of the response
  Clock::time_point last_progress;
  std::string own_error;  // why we ended it ourselves

  long status() const {
    long code = 0;
    curl_easy_getinfo(easy.get(), CURLINFO_RESPONSE_CODE, &code);
    return code;
  }

  bool accepts_body() {
    if (!request.range) return status() == 200;
    if (status() == 200) {
      result.range_ignored = true;
      own_error = "the server ignores ranges";
      return false;
    }
    if (status() == 206 && range_start != request.range->first) {
      own_error = "the server sent another range than it was asked for";
      return false;
    }
    return status() == 206;
  }

  size_t take(std::string_view data) {
    last_progress = Clock::now();
    if (status() >= 400) return data.size();  // an error's page
    if (!accepts_body()) return 0;
    if (!request.on_data(data)) {
      if (own_error.empty()) own_error = "the body was refused";
      return 0;
    }
    result.received_bytes += data.size();
    return data.size();
  }

  void take_header(std::string_view line) {
    last_progress = Clock::now();
    if (line.starts_with("HTTP/")) {  // a new response, after a redirect
      range_start.reset();
      result.retry_after.reset();
    } else if (header_is(line, "retry-after")) {
      if (const auto seconds = parse_number(value_of(line))) {
        result.retry_after = Milliseconds(std::min<uint64_t>(*seconds, 86'400) * 1000);
      }
    } else if (header_is(line, "content-range")) {
      std::string_view value = value_of(line);
      if (value.starts_with("bytes ")) range_start = parse_number(value.substr(6));
    } else if (header_is(line, "link")) {
      result.next_page = next_link(value_of(line));
    }
  }
};

size_t on_write(char* data, size_t size, size_t count, void* transfer) {
  return static_cast<Transfer*>(transfer)->take({data, size * count});
}
size_t on_header(char* data, size_t size, size_t count, void* transfer) {
  static_cast<Transfer*>(transfer)->take_header({data, size * count});
  return size * count;
}

void initialise_curl() {
  static std::once_flag once;  // the library's own global state
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
}

}  // namespace

struct Transfers::State {
  HubOptions options;
  CURLM* multi = nullptr;
  std::vector<std::unique_ptr<Transfer>> running;

  void set_up(Transfer& transfer) const;
  std::unique_ptr<Transfer> remove(CURL* easy);
  void end_stalled(std::vector<std::pair<uint64_t, TransferResult>>& ended);
};

Transfers::Transfers(const HubOptions& options) : state_(std::make_unique<State>()) {
  initialise_curl();
  state_->options = options;
  state_->multi = curl_multi_init();
  COHORT_CHECK(state_->multi != nullptr);
}

Transfers::~Transfers() {
  for (const auto& transfer : state_->running)
    curl_multi_remove_handle(state_->multi, transfer->easy.get());
  state_->running.clear();
  curl_multi_cleanup(state_->multi);
}

size_t Transfers::active() const { return state_->running.size(); }

void Transfers::State::set_up(Transfer& transfer) const {
  CURL* easy = transfer.easy.get();
  const TransferRequest& request = transfer.request;
  const bool secure = options.endpoint.starts_with("https://");
  curl_easy_setopt(easy, CURLOPT_URL, request.url.c_str());
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  // Several connections carry more than several streams of one.
  curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  curl_easy_setopt(easy, CURLOPT_USERAGENT, "cohort");
  curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 1L);
  curl_easy_setopt(easy, CURLOPT_MAXREDIRS, kMaxRedirects);
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, secure ? "https" : "http,https");
  curl_easy_setopt(easy, CURLOPT_REDIR_PROTOCOLS_STR, secure ? "https" : "http,https");
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS,
                   static_cast<long>(options.connect_timeout.count()));
  if (request.deadline)
    curl_easy_setopt(easy, CURLOPT_TIMEOUT_MS, static_cast<long>(request.deadline->count()));
  if (!options.ca_file.empty()) curl_easy_setopt(easy, CURLOPT_CAINFO, options.ca_file.c_str());
  if (request.with_token && !options.token.empty()) {
    curl_easy_setopt(easy, CURLOPT_HTTPAUTH,
                     CURLAUTH_BEARER);  // the library drops it at another host
    curl_easy_setopt(easy, CURLOPT_XOAUTH2_BEARER, options.token.c_str());
  }
  if (request.range) {
    const std::string range = fmt::format("{}-{}", request.range->first, request.range->last);
    curl_easy_setopt(easy, CURLOPT_RANGE, range.c_str());
  }
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_write);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, &transfer);
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, on_header);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, &transfer);
}

void Transfers::start(uint64_t id, TransferRequest request) {
  auto transfer = std::make_unique<Transfer>();
  transfer->id = id;
  transfer->request = std::move(request);
  transfer->easy.reset(curl_easy_init());
  COHORT_CHECK(transfer->easy != nullptr);
  transfer->last_progress = Clock::now();
  state_->set_up(*transfer);
  curl_multi_add_handle(state_->multi, transfer->easy.get());
  state_->running.push_back(std::move(transfer));
}

std::unique_ptr<Transfer> Transfers::State::remove(CURL* easy) {
  const auto found = std::find_if(running.begin(), running.end(), [&](const auto& transfer) {
    return transfer->easy.get() == easy;
  });
  COHORT_CHECK(found != running.end());
  std::unique_ptr<Transfer> transfer = std::move(*found);
  running.erase(found);
  char* url = nullptr;
  curl_easy_getinfo(easy, CURLINFO_EFFECTIVE_URL, &url);
  if (url) transfer->result.effective_url = url;
  transfer->result.status = static_cast<int>(transfer->status());
  curl_multi_remove_handle(multi, easy);
  return transfer;
}

void Transfers::State::end_stalled(std::vector<std::pair<uint64_t, TransferResult>>& ended) {
  const Clock::time_point oldest = Clock::now() - options.stall_timeout;
  std::vector<CURL*> stalled;
  for (const auto& transfer : running) {
    if (transfer->last_progress < oldest) stalled.push_back(transfer->easy.get());
  }
  for (CURL* easy : stalled) {
    std::unique_ptr<Transfer> transfer = remove(easy);
    transfer->result.error = fmt::format("nothing came for {} ms", options.stall_timeout.count());
    ended.emplace_back(transfer->id, std::move(transfer->result));
  }
}

std::vector<std::pair<uint64_t, TransferResult>> Transfers::wait(Milliseconds timeout) {
  std::vector<std::pair<uint64_t, TransferResult>> ended;
  int running = 0;
  curl_multi_perform(state_->multi, &running);
  if (running == static_cast<int>(state_->running.size())) {
    curl_multi_poll(state_->multi, nullptr, 0, static_cast<int>(timeout.count()), nullptr);
    curl_multi_perform(state_->multi, &running);
  }
  int queued = 0;
  while (const CURLMsg* message = curl_multi_info_read(state_->multi, &queued)) {
    if (message->msg != CURLMSG_DONE) continue;
    const CURLcode code = message->data.result;
    std::unique_ptr<Transfer> transfer = state_->remove(message->easy_handle);
    if (code != CURLE_OK) {
      transfer->result.error =
          transfer->own_error.empty() ? curl_easy_strerror(code) : transfer->own_error;
    }
    ended.emplace_back(transfer->id, std::move(transfer->result));
  }
  state_->end_stalled(ended);
  return ended;
}

}  // namespace cohort::hub
