// Finds which of many strings begin at a place of a text. Built once, flat, 13 bytes a node.
#pragma once

#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

namespace cohort::text {

class Trie {
 public:
  using Entry =
      std::pair<std::string_view, int32_t>;  // a string, not empty, and what it stands for, from 0

  Trie() : Trie(std::vector<Entry>{}) {}
  // Of equal strings the first counts. The views are not kept.
  explicit Trie(std::vector<Entry> entries);

  bool any_begins_with(char byte) const {
    return root_children_[static_cast<unsigned char>(byte)] != 0;
  }

  // Calls visit(end, value) for each string that begins at `position`, the shortest first.
  template <class Visit>
  void for_each_prefix(std::string_view text, size_t position, Visit&& visit) const {
    uint32_t node = 0;
    for (size_t at = position; at < text.size();) {
      node = child(node, static_cast<unsigned char>(text[at++]));
      if (node == 0) return;
      if (nodes_[node].value >= 0) visit(at, nodes_[node].value);
    }
  }

 private:
  struct Node {
    uint32_t first_child = 0;
    uint32_t child_count = 0;
    int32_t value = -1;
  };
  uint32_t child(uint32_t node, unsigned char label) const;  // 0 when there is none

  // In order of breadth, so that children lie together; labels_[i] is the byte that leads to node i.
  std::vector<Node> nodes_;
  std::vector<unsigned char> labels_;
  uint32_t root_children_[256] = {};
};

}  // namespace cohort::text
