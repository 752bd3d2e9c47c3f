// Decides what each step computes: every decoding sequence gives one row, and prompts share a bounded number of rows
// round-robin, so that a long prompt holds up neither others' tokens nor short prompts. Owns the KV pages.
//
// A sequence is waiting (no pages) or running (pages for all its tokens but those sampled since). When decoding runs out
// of pages the youngest running sequence goes back to waiting; its KV is computed anew later, from its tokens.
//
// Several steps may be under way at a time; they are computed in order. So a page may be given to another sequence, and a
// prompt's next chunk be scheduled, while an older step still works on it.
#pragma once

#include <cstdint>
#include <deque>
#include <list>
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
  int32_t computed = 0;   // tokens whose KV is in `pages` once the steps under way are done
  bool sampling = false;  // the last token is in a step under way: the next one is not known yet
  std::vector<int32_t> pages;
  PrefixTree::NodeId node = PrefixTree::kRoot;  // the deepest of its pages in the tree,
  int32_t tree_pages = 0;                       // which are pages[0, tree_pages)

  int32_t remaining() const { return static_cast<int32_t>(tokens.size()) - computed; }
};

struct Batch {
  backend::StepPlan plan;
  std::vector<Sequence*> sequences;  // one a run of the plan; null: lost its pages meanwhile
  // One a logits row of the plan: those whose last token is in it. Null: removed meanwhile.
  std::vector<Sequence*> sampled;
};

// Sequences are borrowed from add() or fork() to remove().
class Scheduler {
 public:
  struct Options {
    int32_t max_sequences = 0;  // running at once
    int32_t chunk_tokens = 0;
    int32_t kv_pages = 0;
    int32_t depth = 1;  // steps under way at a time, among which decoding sequences are shared out
  };
  Scheduler(StepExecutor& executor, Options options);

  // The pages must suffice for a sequence alone: tokens <= max_tokens().
  int32_t max_tokens() const { return pool_.total() * backend::kPageTokens; }

  void add(Sequence& sequence);
  // Makes `child` a sequence with the parent's tokens and KV; no step of the parent's is under way. Without room, or where
  // the parent lost its pages, the child waits and is computed anew.
  void fork(const Sequence& parent, Sequence& child);
  void remove(Sequence& sequence);

  // The next step, which is under way from now on; with an empty plan, and not so, when nothing can be done before an
  // older one is done.
  const Batch& schedule();
  int32_t under_way() const { return static_cast<int32_t>(under_way_.size()); }
  const Batch& oldest() const { return under_way_.front(); }
  const Batch& commit();  // the oldest ran. Valid until the next call of schedule()
  void forget_steps();    // none of those under way will be done; their sequences must be removed

  const std::vector<Sequence*>& running() const { return running_; }  // oldest first
  int32_t waiting() const { return static_cast<int32_t>(waiting_.size()); }
  const PagePool& pages() const { return pool_; }
  uint64_t preemptions() const { return preemptions_; }

 private:
  Batch& next_batch();
  void schedule_decodes(Batch& batch);
  void schedule_prefills(Batch& batch);
  void append_run(Sequence& sequence, int32_t rows, Batch& batch);

  void admit_waiting();
  bool admit(Sequence& sequence);
  void run(Sequence& sequence);
  void wait(Sequence& sequence);
  void continue_partial_page(Sequence& sequence, const PrefixTree::Match& match);

  std::optional<int32_t> take_page();
  bool make_room(Sequence& sequence);
  void preempt_youngest();
  void release_pages(Sequence& sequence);
  void publish_full_pages(Sequence& sequence, int32_t computed);

  StepExecutor& executor_;
  const Options options_;
  PagePool pool_;
  PrefixTree tree_{pool_};
  std::deque<Sequence*> waiting_;      // oldest first
  std::vector<Sequence*> running_;     // oldest first
  std::vector<Sequence*> prefilling_;  // scratch of a step
  std::vector<int32_t> shares_;        // scratch of a step
  std::list<Batch> under_way_;         // oldest first
  std::list<Batch> spare_;             // for their memory; the last is the one committed last
  uint64_t steps_ = 0, preemptions_ = 0;
};

}  // namespace cohort::engine
