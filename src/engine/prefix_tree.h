// Which token prefixes have their KV in memory. Each node is one whole page; the path from the root spells the tokens
// before it. Whole pages are shared as they are, a page that agrees only in its first tokens can be copied and continued.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <utility>
#include <vector>

#include "backend/step_plan.h"
#include "engine/page_pool.h"
#include "text/tokenizer.h"

namespace cohort::engine {

// Pages that a sequence uses are never evicted, nor are those above them: a sequence's pages in the tree are the tree's
// own, from the root down.
class PrefixTree {
 public:
  using NodeId = int32_t;
  static constexpr NodeId kRoot = 0;

  explicit PrefixTree(PagePool& pool);

  struct Match {
    NodeId node = kRoot;         // the deepest whole page
    std::vector<int32_t> pages;  // whole pages, in order; not retained
    int32_t partial_page = -1;   // a page whose first partial_tokens tokens come next
    int32_t partial_tokens = 0;
  };
  Match match(std::span<const text::TokenId> tokens);

  // Puts a full page below `parent`. When the tree has these tokens there already, it keeps its own page: use page(result).
  NodeId insert(NodeId parent, std::span<const text::TokenId, backend::kPageTokens> tokens,
                int32_t page);
  int32_t page(NodeId node) const { return nodes_[node].page; }

  // Frees the least recently used page that no sequence uses and nothing lies below. False when there is none.
  bool evict();

 private:
  using PageTokens = std::array<text::TokenId, backend::kPageTokens>;
  struct Node {
    NodeId parent = kRoot;
    int32_t page = -1;
    uint64_t last_used = 0;
    const PageTokens* tokens = nullptr;  // the key in the parent's map
    std::map<PageTokens, NodeId>
        children;  // ordered, so that neighbours share the longest prefixes
  };

  void touch(NodeId node);
  void find_partial(const Node& node, std::span<const text::TokenId> tokens, Match& match);
  NodeId make_node();
  void remove_leaf(NodeId node);

  PagePool& pool_;
  std::vector<Node> nodes_;
  std::vector<NodeId> spare_nodes_;
  std::set<std::pair<uint64_t, NodeId>> leaves_;  // by last use
  uint64_t clock_ = 0;                            // counts matches and insertions
};

}  // namespace cohort::engine
