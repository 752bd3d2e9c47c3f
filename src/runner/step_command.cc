#include "runner/step_command.h"

#include <cstring>

#include "base/bytes.h"
#include "models/halves.h"

namespace cohort::runner {
namespace {

using backend::kPageTokens;

enum class Kind : uint32_t { kStep = 1, kEnd = 2 };

class Writer {
 public:
  explicit Writer(std::vector<std::byte>& out) : out_(out) { out_.clear(); }

  void put(uint32_t value) { put_bytes(&value, sizeof(value)); }
  void put(int32_t value) { put_bytes(&value, sizeof(value)); }
  void put_list(std::span<const int32_t> values) {
    put(static_cast<uint32_t>(values.size()));
    put_bytes(values.data(), values.size_bytes());
  }

 private:
  void put_bytes(const void* from, size_t size) {
    const auto* bytes = static_cast<const std::byte*>(from);
    out_.insert(out_.end(), bytes, bytes + size);
  }
  std::vector<std::byte>& out_;
};

tl::unexpected<Error> nonsense(std::string_view what, int64_t value, int64_t limit) {
  return fail(Code::kDataLoss, "a step from rank 0 has {} {}; the limit is {}", what, value, limit);
}

Result<void> check_index(std::string_view what, int32_t value, int32_t limit) {
  if (value >= 0 && value < limit) return {};
  return nonsense(what, value, limit);
}

class Reader {
 public:
  explicit Reader(std::span<const std::byte> bytes) : rest_(bytes) {}

  template <class T>
  Result<T> take() {
    if (rest_.size() < sizeof(T)) return fail(Code::kDataLoss, "a step from rank 0 is cut short");
    const T value = load<T>(rest_.data());
    rest_ = rest_.subspan(sizeof(T));
    return value;
  }
  // A count of things of `size` bytes, all of which are here.
  Result<uint32_t> take_count(std::string_view what, size_t size) {
    COHORT_TRY(const uint32_t count, take<uint32_t>());
    if (count <= rest_.size() / size) return count;
    return nonsense(what, count, static_cast<int64_t>(rest_.size() / size));
  }
  Result<void> take_list(std::string_view what, int32_t limit, std::vector<int32_t>& out) {
    COHORT_TRY(const uint32_t count, take_count(what, sizeof(int32_t)));
    out.resize(count);
    if (count > 0) std::memcpy(out.data(), rest_.data(), count * sizeof(int32_t));
    rest_ = rest_.subspan(count * sizeof(int32_t));
    for (const int32_t value : out) COHORT_TRY_VOID(check_index(what, value, limit));
    return {};
  }
  Result<void> end() const {
    if (rest_.empty()) return {};
    return fail(Code::kDataLoss, "a step from rank 0 has {} bytes too many", rest_.size());
  }

 private:
  std::span<const std::byte> rest_;
};

Result<void> take_copies(Reader& reader, int32_t pages, std::vector<PageCopy>& copies) {
  COHORT_TRY(const uint32_t count, reader.take_count("copies", sizeof(PageCopy)));
  copies.clear();
  for (uint32_t i = 0; i < count; ++i) {
    COHORT_TRY(const int32_t from, reader.take<int32_t>());
    COHORT_TRY(const int32_t to, reader.take<int32_t>());
    COHORT_TRY_VOID(check_index("a page", from, pages));
    COHORT_TRY_VOID(check_index("a page", to, pages));
    copies.push_back({from, to});
  }
  return {};
}

Result<void> take_run(Reader& reader, int32_t kv_pages, backend::SequenceRun& run) {
  COHORT_TRY(run.rows, reader.take<int32_t>());
  COHORT_TRY(run.first_position, reader.take<int32_t>());
  COHORT_TRY_VOID(reader.take_list("a page", kv_pages, run.pages));
  const int64_t end = int64_t{run.first_position} + run.rows;
  const auto room = static_cast<int64_t>(run.pages.size()) * kPageTokens;
  if (run.rows <= 0 || run.first_position < 0 || end > room) {
    return fail(Code::kDataLoss,
                "a step from rank 0 has {} rows from position {} on in pages that hold {}",
                run.rows, run.first_position, room);
  }
  return {};
}

Result<void> take_runs(Reader& reader, int32_t kv_pages, backend::StepPlan& plan) {
  constexpr size_t kLeastRunBytes = 3 * sizeof(int32_t);
  COHORT_TRY(const uint32_t count, reader.take_count("runs", kLeastRunBytes));
  plan.runs.resize(count);
  int64_t rows = 0;
  for (backend::SequenceRun& run : plan.runs) {
    COHORT_TRY_VOID(take_run(reader, kv_pages, run));
    run.first_row = static_cast<int32_t>(rows);
    rows += run.rows;
    if (rows > static_cast<int64_t>(plan.tokens.size())) break;
  }
  if (rows == static_cast<int64_t>(plan.tokens.size())) return {};
  return fail(Code::kDataLoss, "a step from rank 0 has {} tokens for {} rows", plan.tokens.size(),
              rows);
}

Result<void> check_ascending(std::span<const int32_t> rows) {
  for (size_t i = 1; i < rows.size(); ++i) {
    if (rows[i] <= rows[i - 1])
      return fail(Code::kDataLoss, "a step from rank 0 wants logits of row {} after row {}",
                  rows[i], rows[i - 1]);
  }
  return {};
}

}  // namespace

void encode_step(std::span<const PageCopy> copies, const backend::StepPlan& plan,
                 std::vector<std::byte>& out) {
  Writer writer(out);
  writer.put(static_cast<uint32_t>(Kind::kStep));
  writer.put(static_cast<uint32_t>(copies.size()));
  for (const PageCopy& copy : copies) {
    writer.put(copy.from);
    writer.put(copy.to);
  }
  writer.put_list(plan.tokens);
  writer.put(static_cast<uint32_t>(plan.runs.size()));
  for (const backend::SequenceRun& run : plan.runs) {
    writer.put(run.rows);
    writer.put(run.first_position);
    writer.put_list(run.pages);
  }
  writer.put_list(plan.logits_rows);
  writer.put(uint32_t{plan.in_halves});
}

void encode_end(std::vector<std::byte>& out) { Writer(out).put(static_cast<uint32_t>(Kind::kEnd)); }

Result<void> decode_command(std::span<const std::byte> bytes, const PlanLimits& limits,
                            StepCommand& command) {
  Reader reader(bytes);
  COHORT_TRY(const uint32_t kind, reader.take<uint32_t>());
  command.end = kind == static_cast<uint32_t>(Kind::kEnd);
  if (command.end) return reader.end();
  if (kind != static_cast<uint32_t>(Kind::kStep)) return nonsense("kind", kind, 2);
  backend::StepPlan& plan = command.plan;
  COHORT_TRY_VOID(take_copies(reader, limits.kv_pages, command.copies));
  COHORT_TRY_VOID(reader.take_list("a token", limits.vocab_size, plan.tokens));
  const auto slots = static_cast<uint64_t>(limits.kv_pages) * kPageTokens;
  if (plan.tokens.empty() || plan.tokens.size() > slots) {
    return nonsense("rows", static_cast<int64_t>(plan.tokens.size()), static_cast<int64_t>(slots));
  }
  COHORT_TRY_VOID(take_runs(reader, limits.kv_pages, plan));
  COHORT_TRY_VOID(
      reader.take_list("a row", static_cast<int32_t>(plan.tokens.size()), plan.logits_rows));
  COHORT_TRY_VOID(check_ascending(plan.logits_rows));
  COHORT_TRY(const uint32_t in_halves, reader.take<uint32_t>());
  plan.in_halves = in_halves != 0;
  if (plan.in_halves && !(limits.has_all_layers && models::can_be_halved(plan)))
    return fail(Code::kDataLoss, "a step from rank 0 of {} rows cannot be halved here",
                plan.tokens.size());
  return reader.end();
}

}  // namespace cohort::runner
