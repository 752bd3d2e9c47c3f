#include "text/trie.h"

#include <algorithm>

#include "base/check.h"

namespace cohort::text {
namespace {

// The entries [begin, end) share their first `depth` bytes, those of the node.
struct Pending {
  size_t begin, end, depth;
};

}  // namespace

Trie::Trie(std::vector<Entry> entries) {
  std::stable_sort(entries.begin(), entries.end(),
                   [](const Entry& a, const Entry& b) { return a.first < b.first; });
  nodes_.push_back({});
  labels_.push_back(0);
  std::vector<Pending> pending{{0, entries.size(), 0}};
  for (size_t node = 0; node < pending.size(); ++node) {
    auto [begin, end, depth] = pending[node];
    if (begin < end && entries[begin].first.size() == depth) {
      nodes_[node].value = entries[begin].second;
    }
    while (begin < end && entries[begin].first.size() == depth) ++begin;
    nodes_[node].first_child = static_cast<uint32_t>(nodes_.size());
    while (begin < end) {
      const char label = entries[begin].first[depth];
      size_t next = begin;
      while (next < end && entries[next].first[depth] == label) ++next;
      pending.push_back({begin, next, depth + 1});
      nodes_.push_back({});
      labels_.push_back(static_cast<unsigned char>(label));
      begin = next;
    }
    nodes_[node].child_count = static_cast<uint32_t>(nodes_.size()) - nodes_[node].first_child;
  }
  for (uint32_t i = 0; i < nodes_[0].child_count; ++i) {
    const uint32_t node = nodes_[0].first_child + i;
    root_children_[labels_[node]] = node;
  }
}

uint32_t Trie::child(uint32_t node, unsigned char label) const {
  if (node == 0) return root_children_[label];
  const auto begin = labels_.begin() + nodes_[node].first_child;
  const auto end = begin + nodes_[node].child_count;
  const auto found = std::lower_bound(begin, end, label);
  if (found == end || *found != label) return 0;
  return static_cast<uint32_t>(found - labels_.begin());
}

}  // namespace cohort::text
