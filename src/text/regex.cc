#include "text/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <string>

#include "base/check.h"
#include "text/regex_syntax.h"
#include "text/unicode.h"

namespace cohort::text {
namespace {

constexpr uint32_t kMatchLimit = 10'000'000;    // backtracking steps of one match
constexpr size_t kMaxJitStackBytes = 16 << 20;  // grows as used
constexpr uint32_t kHeapLimitKib = 64 << 10;    // of the interpreter, where there is no JIT
constexpr size_t kStretchBytes = 4 << 10;       // looked at once a match was over its limit

template <class T, void (*free)(T*)>
struct Deleter {
  void operator()(T* object) const { free(object); }
};
template <class T, void (*free)(T*)>
using Owned = std::unique_ptr<T, Deleter<T, free>>;

using OwnedCode = Owned<pcre2_code, pcre2_code_free>;
using OwnedCompileContext = Owned<pcre2_compile_context, pcre2_compile_context_free>;
using OwnedMatchContext = Owned<pcre2_match_context, pcre2_match_context_free>;
using OwnedMatchData = Owned<pcre2_match_data, pcre2_match_data_free>;
using OwnedJitStack = Owned<pcre2_jit_stack, pcre2_jit_stack_free>;

size_t character_begin(std::string_view text, size_t at) {
  while (at > 0 && at < text.size() && is_utf8_continuation(text[at])) --at;
  return at;
}

}  // namespace

struct Regex::Code {
  OwnedCode pcre2;
  bool jit = false;
};

struct RegexSearch::Workspace {
  OwnedMatchData data;
  OwnedMatchContext context;
  OwnedJitStack jit_stack;  // only once the 32 KiB of the thread's own stack did not do
};

Regex::Regex(std::unique_ptr<Code> code) : code_(std::move(code)) {}
Regex::Regex(Regex&&) noexcept = default;
Regex& Regex::operator=(Regex&&) noexcept = default;
Regex::~Regex() = default;

Result<Regex> Regex::compile(std::string_view pattern) {
  COHORT_TRY(const std::string translated, to_pcre2_syntax(pattern));
  const OwnedCompileContext context(pcre2_compile_context_create(nullptr));
  COHORT_CHECK(context != nullptr);
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int error = 0;
  PCRE2_SIZE where = 0;
  // Oniguruma's ^ and $ match at every line.
  constexpr uint32_t kOptions = PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;
  OwnedCode compiled(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()),
                                   translated.size(), kOptions, &error, &where, context.get()));
  if (compiled == nullptr) {
    char message[256] = "";
    pcre2_get_error_message(error, reinterpret_cast<PCRE2_UCHAR*>(message), sizeof message);
    return fail(cohort::Code::kDataLoss, "the pattern does not compile: {} (near '{}')", message,
                translated.substr(where, 20));
  }
  auto code = std::make_unique<Code>();
  code->jit = pcre2_jit_compile(compiled.get(), PCRE2_JIT_COMPLETE) == 0;
  code->pcre2 = std::move(compiled);
  return Regex(std::move(code));
}

RegexSearch::RegexSearch(const Regex& regex)
    : code_(*regex.code_), workspace_(std::make_unique<Workspace>()) {
  workspace_->data.reset(pcre2_match_data_create(1, nullptr));
  workspace_->context.reset(pcre2_match_context_create(nullptr));
  COHORT_CHECK(workspace_->data != nullptr);
  COHORT_CHECK(workspace_->context != nullptr);
  pcre2_set_match_limit(workspace_->context.get(), kMatchLimit);
  pcre2_set_heap_limit(workspace_->context.get(), kHeapLimitKib);
}

RegexSearch::~RegexSearch() = default;

RegexSearch::Attempt RegexSearch::attempt(std::string_view subject, size_t from) {
  const auto match = code_.jit ? pcre2_jit_match : pcre2_match;
  // An empty match would be no progress; PCRE2 looks for a longer one at the same place or further on.
  constexpr uint32_t kOptions = PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY;
  Workspace& w = *workspace_;
  const auto run = [&] {
    return match(code_.pcre2.get(), reinterpret_cast<PCRE2_SPTR>(subject.data()), subject.size(),
                 from, kOptions, w.data.get(), w.context.get());
  };
  int status = run();
  if (status == PCRE2_ERROR_JIT_STACKLIMIT && w.jit_stack == nullptr) {
    w.jit_stack.reset(pcre2_jit_stack_create(32 << 10, kMaxJitStackBytes, nullptr));
    pcre2_jit_stack_assign(w.context.get(), nullptr, w.jit_stack.get());
    status = run();
  }
  if (status == PCRE2_ERROR_NOMATCH) return {.within_budget = true, .match = std::nullopt};
  if (status < 0) return {.within_budget = false, .match = std::nullopt};
  const PCRE2_SIZE* offsets = pcre2_get_ovector_pointer(w.data.get());
  return {.within_budget = true, .match = Range{offsets[0], offsets[1]}};
}

std::optional<Range> RegexSearch::next(std::string_view subject, size_t from) {
  if (from >= subject.size()) return std::nullopt;
  if (!over_budget_) {
    const Attempt whole = attempt(subject, from);
    if (whole.within_budget) return whole.match;
    over_budget_ = true;
  }
  while (from < subject.size()) {
    const size_t end = character_begin(subject, std::min(subject.size(), from + kStretchBytes));
    const Attempt stretch = attempt(subject.substr(0, end), from);
    if (stretch.match) return stretch.match;
    from = end;
  }
  return std::nullopt;
}

}  // namespace cohort::text
