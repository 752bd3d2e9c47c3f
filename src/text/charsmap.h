// SentencePiece's precompiled normalisation map ("Precompiled"): a Darts double array from character sequences to their
// replacements, as base64 in tokenizer.json.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "text/rewriter.h"

namespace cohort::text {

class CharsMap {
 public:
  // kDataLoss when the blob's sizes lie.
  static Result<CharsMap> parse(std::string_view base64);

  // Replaces the longest known sequence at each place.
  MarkedText run(const MarkedText& text) const;

 private:
  struct Found {
    size_t size = 0;  // of the sequence; 0 when there is none
    std::string_view replacement;
  };
  Found longest(std::string_view text) const;
  std::string_view replacement_at(uint32_t offset) const;

  std::vector<uint32_t> units_;  // the double array
  std::string replacements_;     // each ends with a zero byte
};

}  // namespace cohort::text
