// A model of 64 tokens whose logits depend on every token before, as seen through the KV pages: a wrong page table, fork
// or reuse, or a position that was never computed, changes all that follows.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/check.h"
#include "engine/engine.h"
#include "engine/random.h"
#include "text/decoder.h"

namespace cohort::engine::testing {

inline constexpr int32_t kVocab = 64;
inline constexpr text::TokenId kEos = 0;

inline models::ModelInfo fake_model_info() {
  models::ModelInfo info;
  info.model_type = "fake";
  info.vocab_size = kVocab;
  info.max_positions = 100'000;
  return info;
}

// Stores in each slot a digest of its token and of all slots before; logits are drawn from the last slot's digest.
class FakeExecutor : public StepExecutor {
 public:
  explicit FakeExecutor(int32_t pages, int32_t depth = 1)
      : slots_(static_cast<size_t>(pages) * backend::kPageTokens, 0xbad), depth_(depth) {}

  int32_t depth() const override { return depth_; }

  Result<void> begin(const backend::StepPlan& plan) override {
    COHORT_CHECK(static_cast<int32_t>(begun_.size()) < depth_);
    begun_.push_back({std::exchange(page_copies_, {}), &plan});
    most_begun = std::max(most_begun, begun_.size());
    return {};
  }

  Result<void> finish(std::span<float> logits) override {
    if (failure) {
      begun_.clear();
      return fail(Code::kUnavailable, "{}", *failure);
    }
    const Step step = std::move(begun_.front());
    begun_.pop_front();
    for (const auto& [from, to] : step.page_copies) {
      for (int i = 0; i < backend::kPageTokens; ++i) slot(to, i) = slot(from, i);
    }
    const backend::StepPlan& plan = *step.plan;
    check_plan(plan, logits.size());
    std::vector<uint64_t> digests;
    for (const backend::SequenceRun& run : plan.runs) {
      for (int32_t row = 0; row < run.rows; ++row) {
        digests.push_back(compute(run, run.first_position + row, plan.tokens[digests.size()]));
      }
    }
    for (size_t i = 0; i < plan.logits_rows.size(); ++i) {
      const uint64_t digest = digests[static_cast<size_t>(plan.logits_rows[i])];
      fill(digest, logits.subspan(i * kVocab, kVocab));
    }
    plans.push_back(plan);
    rows += static_cast<int64_t>(plan.tokens.size());
    return {};
  }

  void copy_kv_page(int32_t from, int32_t to) override {
    COHORT_CHECK(from != to);
    page_copies_.emplace_back(from, to);
    ++copies;
  }

  std::vector<backend::StepPlan> plans;  // as they came
  int64_t rows = 0;
  int32_t copies = 0;
  size_t most_begun = 0;               // at a time
  std::optional<std::string> failure;  // of the next runs
  bool not_finite = false;             // all logits are NaN

 private:
  uint64_t& slot(int32_t page, int32_t index) {
    return slots_.at(static_cast<size_t>(page * backend::kPageTokens + index));
  }

  uint64_t compute(const backend::SequenceRun& run, int32_t position, text::TokenId token) {
    uint64_t digest = random_bits(static_cast<uint64_t>(token), static_cast<uint64_t>(position));
    for (int32_t p = 0; p < position; ++p) {
      digest = mix_bits(digest + slot(run.pages.at(page_of(p)), p % backend::kPageTokens));
    }
    slot(run.pages.at(page_of(position)), position % backend::kPageTokens) = digest;
    return digest;
  }

  void fill(uint64_t digest, std::span<float> row) const {
    for (size_t i = 0; i < row.size(); ++i) {
      row[i] = not_finite ? std::numeric_limits<float>::quiet_NaN()
                          : static_cast<float>(8 * random_unit(digest, i) - 4);
    }
  }

  static size_t page_of(int32_t position) {
    return static_cast<size_t>(position / backend::kPageTokens);
  }

  static void check_plan(const backend::StepPlan& plan, size_t logits) {
    int32_t next_row = 0;
    std::set<int32_t> written;
    for (const backend::SequenceRun& run : plan.runs) {
      COHORT_CHECK(run.first_row == next_row);
      COHORT_CHECK(run.rows > 0);
      next_row += run.rows;
      const int32_t last = run.first_position + run.rows - 1;
      COHORT_CHECK(run.pages.size() == page_of(last) + 1);
      for (size_t page = page_of(run.first_position); page < run.pages.size(); ++page) {
        COHORT_CHECK(written.insert(run.pages[page]).second);  // no page has two writers
      }
    }
    COHORT_CHECK(static_cast<size_t>(next_row) == plan.tokens.size());
    COHORT_CHECK(logits == plan.logits_rows.size() * kVocab);
  }

  using PageCopies = std::vector<std::pair<int32_t, int32_t>>;
  struct Step {
    PageCopies page_copies;  // before it
    const backend::StepPlan* plan = nullptr;
  };

  std::vector<uint64_t> slots_;
  int32_t depth_;
  PageCopies page_copies_;
  std::deque<Step> begun_;
};

// Token 0 ends a sequence; 1..26 are letters, the others two of them.
class FakeTokenizer : public text::Tokenizer {
 public:
  std::vector<text::TokenId> encode(std::string_view text, bool) const override {
    std::vector<text::TokenId> ids;
    for (const char c : text) ids.push_back(c - 'a' + 1);
    return ids;
  }
  std::vector<text::TokenId> encode(std::span<const text::TextSpan> spans) const override {
    std::string text;
    for (const text::TextSpan& span : spans) text += span.text;
    return encode(text, false);
  }
  std::string decode(std::span<const text::TokenId> ids, bool skip_special) const override {
    std::string text;
    for (const text::TokenId id : ids) {
      if (!skip_special || !is_special(id)) text += id_to_token(id);
    }
    return text;
  }
  int32_t vocab_size() const override { return kVocab; }
  std::optional<text::TokenId> token_to_id(std::string_view piece) const override {
    for (text::TokenId id = 0; id < kVocab; ++id) {
      if (id_to_token(id) == piece) return id;
    }
    return std::nullopt;
  }
  std::string id_to_token(text::TokenId id) const override {
    if (id == kEos) return "</s>";
    if (id <= 26) return std::string(1, static_cast<char>('a' + id - 1));
    return {static_cast<char>('a' + id % 26), static_cast<char>('a' + id / 2 % 26)};
  }
  bool is_special(text::TokenId id) const override { return id == kEos; }
  const text::Decoder& decoder() const override { return decoder_; }

 private:
  text::Decoder decoder_;
};

}  // namespace cohort::engine::testing
