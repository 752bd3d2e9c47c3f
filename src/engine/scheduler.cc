#include "engine/scheduler.h"

#include <algorithm>
#include <span>

#include "base/bytes.h"
#include "base/check.h"

namespace cohort::engine {

using backend::kPageTokens;

namespace {

constexpr Sequence* kNobody = nullptr;

bool older(const Sequence* a, const Sequence* b) { return a->ticket < b->ticket; }

template <class Sequences>
void insert_by_age(Sequences& sequences, Sequence& sequence) {
  sequences.insert(std::upper_bound(sequences.begin(), sequences.end(), &sequence, older),
                   &sequence);
}

size_t pages_for(size_t tokens) { return divide_up<size_t>(tokens, kPageTokens); }

}  // namespace

Scheduler::Scheduler(StepExecutor& executor, Options options)
    : executor_(executor), options_(options), pool_(options.kv_pages) {
  COHORT_CHECK(options.max_sequences > 0);
  COHORT_CHECK(options.chunk_tokens > 0);
  COHORT_CHECK(options.kv_pages > 0);
  COHORT_CHECK(options.depth > 0);
}

void Scheduler::add(Sequence& sequence) {
  COHORT_CHECK(!sequence.tokens.empty());
  COHORT_CHECK(static_cast<int32_t>(sequence.tokens.size()) <= max_tokens());
  wait(sequence);
}

void Scheduler::remove(Sequence& sequence) {
  release_pages(sequence);
  for (Batch& batch : under_way_) {
    std::replace(batch.sampled.begin(), batch.sampled.end(), &sequence, kNobody);
  }
  std::erase(running_, &sequence);
  std::erase(waiting_, &sequence);
}

void Scheduler::fork(const Sequence& parent, Sequence& child) {
  child.cached_tokens = parent.cached_tokens;
  if (parent.remaining() > 0)
    return wait(child);  // lost its pages while its last step was under way
  const auto whole = static_cast<size_t>(parent.computed / kPageTokens);
  const bool partial = parent.computed % kPageTokens > 0;
  const bool has_slot = static_cast<int32_t>(running_.size()) < options_.max_sequences;
  const auto own_page = has_slot && partial ? take_page() : std::nullopt;
  if (!has_slot || (partial && !own_page)) return wait(child);
  child.pages.assign(parent.pages.begin(), parent.pages.begin() + static_cast<ptrdiff_t>(whole));
  for (const int32_t page : child.pages) pool_.retain(page);
  if (own_page) {
    executor_.copy_kv_page(parent.pages[whole], *own_page);
    child.pages.push_back(*own_page);
  }
  child.computed = parent.computed;
  child.node = parent.node;
  child.tree_pages = parent.tree_pages;
  run(child);
}

const Batch& Scheduler::schedule() {
  ++steps_;
  Batch& batch = next_batch();
  admit_waiting();
  schedule_decodes(batch);
  schedule_prefills(batch);
  if (!batch.sequences.empty()) under_way_.splice(under_way_.end(), spare_, spare_.begin());
  return batch;
}

Batch& Scheduler::next_batch() {
  if (spare_.empty()) spare_.emplace_back();
  Batch& batch = spare_.front();
  batch.plan.tokens.clear();
  batch.plan.runs.clear();
  batch.plan.logits_rows.clear();
  batch.sequences.clear();
  batch.sampled.clear();
  return batch;
}

const Batch& Scheduler::commit() {
  spare_.splice(spare_.end(), under_way_, under_way_.begin());
  const Batch& batch = spare_.back();
  for (size_t i = 0; i < batch.sequences.size(); ++i) {
    const backend::SequenceRun& run = batch.plan.runs[i];
    if (batch.sequences[i] == nullptr) continue;
    publish_full_pages(*batch.sequences[i], run.first_position + run.rows);
  }
  for (Sequence* sequence : batch.sampled) {
    if (sequence != nullptr) sequence->sampling = false;
  }
  return batch;
}

void Scheduler::forget_steps() { spare_.splice(spare_.end(), under_way_); }

void Scheduler::schedule_decodes(Batch& batch) {
  const auto decoding = std::count_if(running_.begin(), running_.end(),
                                      [](const Sequence* s) { return s->remaining() <= 1; });
  const auto share = static_cast<size_t>(divide_up<int64_t>(decoding, options_.depth));
  // Oldest first, while pages are taken from the youngest: a sequence already in the batch never loses its pages.
  for (size_t i = 0; i < running_.size() && batch.sequences.size() < share; ++i) {
    Sequence& sequence = *running_[i];
    if (sequence.remaining() == 1 && make_room(sequence)) append_run(sequence, 1, batch);
  }
}

void Scheduler::schedule_prefills(Batch& batch) {
  prefilling_.clear();
  for (Sequence* sequence : running_) {
    if (sequence->remaining() > 1) prefilling_.push_back(sequence);
  }
  if (prefilling_.empty()) return;
  const auto first =
      static_cast<ptrdiff_t>(steps_ % prefilling_.size());  // takes turns at what does not divide
  std::rotate(prefilling_.begin(), prefilling_.begin() + first, prefilling_.end());

  shares_.assign(prefilling_.size(), 0);
  int32_t budget = options_.chunk_tokens;
  auto hungry = static_cast<int32_t>(prefilling_.size());
  while (budget > 0 && hungry > 0) {
    const int32_t share = std::max(1, budget / hungry);
    hungry = 0;
    for (size_t i = 0; i < prefilling_.size(); ++i) {
      const int32_t wanted = prefilling_[i]->remaining() - shares_[i];
      const int32_t given = std::min({wanted, share, budget});
      shares_[i] += given;
      budget -= given;
      if (given < wanted) ++hungry;
    }
  }
  for (size_t i = 0; i < prefilling_.size(); ++i) {
    if (shares_[i] > 0) append_run(*prefilling_[i], shares_[i], batch);
  }
}

void Scheduler::append_run(Sequence& sequence, int32_t rows, Batch& batch) {
  backend::StepPlan& plan = batch.plan;
  const int32_t end = sequence.computed + rows;
  const auto first_token = sequence.tokens.begin() + sequence.computed;
  backend::SequenceRun run{.first_row = static_cast<int32_t>(plan.tokens.size()),
                           .rows = rows,
                           .first_position = sequence.computed,
                           .pages = {}};
  const auto page_count = static_cast<ptrdiff_t>(pages_for(static_cast<size_t>(end)));
  run.pages.assign(sequence.pages.begin(), sequence.pages.begin() + page_count);
  for (auto page = static_cast<size_t>(sequence.computed / kPageTokens); page < run.pages.size();
       ++page) {
    COHORT_CHECK(pool_.writable(run.pages[page]));
  }
  plan.tokens.insert(plan.tokens.end(), first_token, first_token + rows);
  plan.runs.push_back(std::move(run));
  batch.sequences.push_back(&sequence);
  sequence.computed = end;
  sequence.sampling = sequence.remaining() == 0;
  if (!sequence.sampling) return;
  plan.logits_rows.push_back(static_cast<int32_t>(plan.tokens.size()) - 1);
  batch.sampled.push_back(&sequence);
}

void Scheduler::admit_waiting() {
  while (!waiting_.empty() && static_cast<int32_t>(running_.size()) < options_.max_sequences) {
    Sequence& sequence = *waiting_.front();
    if (sequence.sampling || !admit(sequence))
      return;  // in order of arrival: a big one is not overtaken for ever
    waiting_.pop_front();
    run(sequence);
  }
}

bool Scheduler::admit(Sequence& sequence) {
  const std::span<const text::TokenId> tokens = sequence.tokens;
  // The last token is computed in any case: its logits are wanted.
  PrefixTree::Match match = tree_.match(tokens.first(tokens.size() - 1));
  for (const int32_t page : match.pages) pool_.retain(page);
  sequence.pages = std::move(match.pages);
  const size_t missing = pages_for(tokens.size()) - sequence.pages.size();
  // A page for each of the others to grow into, so that the newcomer is not sent back at once.
  const size_t wanted = missing + running_.size();
  if (!running_.empty() && static_cast<int32_t>(wanted) > pool_.available()) {
    release_pages(sequence);
    return false;
  }
  sequence.node = match.node;
  sequence.tree_pages = static_cast<int32_t>(sequence.pages.size());
  sequence.computed = sequence.tree_pages * kPageTokens;
  if (match.partial_tokens > 0) continue_partial_page(sequence, match);
  while (sequence.pages.size() < pages_for(tokens.size())) {
    const auto page = take_page();
    COHORT_CHECK(page.has_value());
    sequence.pages.push_back(*page);
  }
  if (sequence.cached_tokens < 0) {
    sequence.cached_tokens = std::min(sequence.computed, sequence.prompt_tokens);
  }
  return true;
}

void Scheduler::continue_partial_page(Sequence& sequence, const PrefixTree::Match& match) {
  pool_.retain(match.partial_page);  // taking a page must not evict the one to copy
  if (const auto page = take_page()) {
    executor_.copy_kv_page(match.partial_page, *page);
    sequence.pages.push_back(*page);
    sequence.computed += match.partial_tokens;
  }
  pool_.release(match.partial_page);
}

void Scheduler::run(Sequence& sequence) { insert_by_age(running_, sequence); }
void Scheduler::wait(Sequence& sequence) { insert_by_age(waiting_, sequence); }

std::optional<int32_t> Scheduler::take_page() {
  if (pool_.free() == 0) tree_.evict();
  return pool_.allocate();
}

// Pages for all tokens, at the cost of the youngest. False when the sequence itself had to go back to waiting.
bool Scheduler::make_room(Sequence& sequence) {
  while (sequence.pages.size() < pages_for(sequence.tokens.size())) {
    if (const auto page = take_page()) {
      sequence.pages.push_back(*page);
      continue;
    }
    const bool itself = running_.back() == &sequence;
    COHORT_CHECK(running_.size() > 1);
    preempt_youngest();
    if (itself) return false;
  }
  return true;
}

void Scheduler::preempt_youngest() {
  Sequence& victim = *running_.back();
  running_.pop_back();
  release_pages(victim);
  wait(victim);
  ++preemptions_;
}

void Scheduler::release_pages(Sequence& sequence) {
  for (Batch& batch : under_way_) {
    std::replace(batch.sequences.begin(), batch.sequences.end(), &sequence, kNobody);
  }
  for (const int32_t page : sequence.pages) pool_.release(page);
  sequence.pages.clear();
  sequence.computed = 0;
  sequence.node = PrefixTree::kRoot;
  sequence.tree_pages = 0;
}

void Scheduler::publish_full_pages(Sequence& sequence, int32_t computed) {
  while ((sequence.tree_pages + 1) * kPageTokens <= computed) {
    const std::span<const text::TokenId, kPageTokens> tokens(
        sequence.tokens.data() + sequence.tree_pages * kPageTokens, kPageTokens);
    int32_t& page = sequence.pages[static_cast<size_t>(sequence.tree_pages)];
    sequence.node = tree_.insert(sequence.node, tokens, page);
    const int32_t kept = tree_.page(sequence.node);
    if (kept != page) {  // someone computed the same meanwhile: share theirs
      pool_.retain(kept);
      pool_.release(page);
      page = kept;
    }
    ++sequence.tree_pages;
  }
}

}  // namespace cohort::engine
