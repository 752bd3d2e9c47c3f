#include "engine/prefix_tree.h"

#include <algorithm>

#include "base/check.h"

namespace cohort::engine {

using backend::kPageTokens;

PrefixTree::PrefixTree(PagePool& pool) : pool_(pool), nodes_(1) {}

PrefixTree::Match PrefixTree::match(std::span<const text::TokenId> tokens) {
  Match match;
  ++clock_;
  PageTokens key;
  while (tokens.size() >= key.size()) {
    std::copy_n(tokens.begin(), key.size(), key.begin());
    const auto& children = nodes_[match.node].children;
    const auto child = children.find(key);
    if (child == children.end()) break;
    match.node = child->second;
    match.pages.push_back(nodes_[match.node].page);
    touch(match.node);
    tokens = tokens.subspan(key.size());
  }
  find_partial(nodes_[match.node], tokens, match);
  return match;
}

void PrefixTree::find_partial(const Node& node, std::span<const text::TokenId> tokens,
                              Match& match) {
  PageTokens key;
  const size_t wanted = std::min(tokens.size(), key.size());
  key.fill(-1);  // below every id: lower_bound finds the first page that continues the tokens
  std::copy_n(tokens.begin(), wanted, key.begin());
  const auto consider = [&](const auto& child) {
    const auto [mine, theirs] =
        std::mismatch(key.begin(), key.begin() + wanted, child.first.begin());
    const auto common = static_cast<int32_t>(mine - key.begin());
    if (common <= match.partial_tokens) return;
    match.partial_tokens = common;
    match.partial_page = nodes_[child.second].page;
  };
  const auto next = node.children.lower_bound(key);
  if (next != node.children.end()) consider(*next);
  if (next != node.children.begin()) consider(*std::prev(next));
}

PrefixTree::NodeId PrefixTree::insert(NodeId parent,
                                      std::span<const text::TokenId, kPageTokens> tokens,
                                      int32_t page) {
  ++clock_;
  PageTokens key;
  std::copy(tokens.begin(), tokens.end(), key.begin());
  if (const auto found = nodes_[parent].children.find(key);
      found != nodes_[parent].children.end()) {
    touch(found->second);
    return found->second;
  }
  const NodeId id = make_node();
  const auto [place, inserted] = nodes_[parent].children.emplace(key, id);
  COHORT_CHECK(inserted);
  if (parent != kRoot) leaves_.erase({nodes_[parent].last_used, parent});
  Node& node = nodes_[id];
  node.parent = parent;
  node.page = page;
  node.last_used = clock_;
  node.tokens = &place->first;
  leaves_.emplace(clock_, id);
  pool_.keep(page);
  return id;
}

bool PrefixTree::evict() {
  // Each running sequence pins at most one leaf, so few are passed over.
  const auto victim = std::find_if(leaves_.begin(), leaves_.end(), [this](const auto& leaf) {
    return !pool_.in_use(nodes_[leaf.second].page);
  });
  if (victim == leaves_.end()) return false;
  remove_leaf(victim->second);
  return true;
}

void PrefixTree::touch(NodeId id) {
  Node& node = nodes_[id];
  if (leaves_.erase({node.last_used, id}) > 0) leaves_.emplace(clock_, id);
  node.last_used = clock_;
}

PrefixTree::NodeId PrefixTree::make_node() {
  if (spare_nodes_.empty()) {
    nodes_.emplace_back();
    return static_cast<NodeId>(nodes_.size()) - 1;
  }
  const NodeId id = spare_nodes_.back();
  spare_nodes_.pop_back();
  return id;
}

void PrefixTree::remove_leaf(NodeId id) {
  Node& node = nodes_[id];
  COHORT_CHECK(node.children.empty());
  leaves_.erase({node.last_used, id});
  pool_.drop(node.page);
  Node& parent = nodes_[node.parent];
  parent.children.erase(parent.children.find(*node.tokens));
  if (node.parent != kRoot && parent.children.empty())
    leaves_.emplace(parent.last_used, node.parent);
  node = Node{};
  spare_nodes_.push_back(id);
}

}  // namespace cohort::engine
