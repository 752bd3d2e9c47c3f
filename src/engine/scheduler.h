// Decides what each step computes: every decoding sequence gives one row, and prompts share a bounded number of rows
// round-robin, so that a long prompt holds up neither others' tokens nor short prompts. Owns the KV pages.
//
// A sequence is waiting (no pages) or running (pages for all its tokens but those sampled since). When decoding runs out
// of pages the youngest running sequence goes back to waiting; its KV is computed anew later, from its tokens.
#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

#include "backend/step_plan.h"
#include "engine/engine.h"
#include "engine/page_pool.h"
#include "engine/prefix_tree.h"
#include "text/tokenizer.h"

namespace cohort::engine {

struct Sequence {
  uint64_t ticket = 0;                // unique; the lower, the older
  std::vector<text::TokenId> tokens;  // prompt, then output; appended to by the owner
  int32_t prompt_tokens = 0;
  int32_t cached_tokens =
      -1;  // of the prompt, found in memory when first admitted; -1: not admitted yet

  // The scheduler's own.
  int32_t computed = 0;  // tokens whose KV is in `pages`
  std::vector<int32_t> pages;
  PrefixTree::NodeId node = PrefixTree::kRoot;  // the deepest of its pages in the tree,
  int32_t tree_pages = 0;                       // which are pages[0, tree_pages)

  int32_t remaining() const { return static_cast<int32_t>(tokens.size()) - computed; }
};

struct Batch {
  backend::StepPlan plan;
  std::vector<Sequence*> sequences;  // one a run of the plan
  std::vector<Sequence*> sampled;  // one a logits row of the plan: those whose last token is in it
};

// Sequences are borrowed from add() or fork() to remove().
class Scheduler {
 public:
  struct Options {
    int32_t max_sequences = 0;  // running at once
    int32_t chunk_tokens = 0;
    int32_t kv_pages = 0;
  };
  Scheduler(StepExecutor& executor, Options options);

  // The pages must suffice for a sequence alone: tokens <= max_tokens().
  int32_t max_tokens() const { return pool_.total() * backend::kPageTokens; }

  void add(Sequence& sequence);
  // Makes `child` a sequence with the parent's tokens and KV; all of the parent's tokens must be computed. Without room
  // the child waits and is computed anew.
  void fork(const Sequence& parent, Sequence& child);
  void remove(Sequence& sequence);

  // Valid until the next call of schedule(). Empty when nothing is to do. Sequences may be removed or appended to after
  // commit(), not before.
  const Batch& schedule();
  void commit();  // the batch ran

  const std::vector<Sequence*>& running() const { return running_; }  // oldest first
  int32_t waiting() const { return static_cast<int32_t>(waiting_.size()); }
  const PagePool& pages() const { return pool_; }
  uint64_t preemptions() const { return preemptions_; }

 private:
  void schedule_decodes();
  void schedule_prefills();
  void append_run(Sequence& sequence, int32_t rows);

  void admit_waiting();
  bool admit(Sequence& sequence);
  void run(Sequence& sequence);
  void wait(Sequence& sequence);
  void continue_partial_page(Sequence& sequence, const PrefixTree::Match& match);

  std::optional<int32_t> take_page();
  bool make_room(Sequence& sequence);
  void preempt_youngest();
  void release_pages(Sequence& sequence);
  void publish_full_pages(Sequence& sequence);

  StepExecutor& executor_;
  const Options options_;
  PagePool pool_;
  PrefixTree tree_{pool_};
  std::deque<Sequence*> waiting_;      // oldest first
  std::vector<Sequence*> running_;     // oldest first
  std::vector<Sequence*> prefilling_;  // scratch of a step
  std::vector<int32_t> shares_;        // scratch of a step
  Batch batch_;
  uint64_t steps_ = 0, preemptions_ = 0;
};

}  // namespace cohort::engine
