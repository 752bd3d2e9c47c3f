// tokenizer.json's "pre_tokenizer": text is cut into words, which the model then encodes one by one.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "base/result.h"
#include "text/rewriter.h"

namespace cohort::text {

struct Words {
  std::string text;
  std::vector<Range> ranges;  // ascending, none empty; the words
  bool at_start = true;       // the text begins where the whole input does
};

// Immutable; safe from many threads.
class PreTokenizer {
 public:
  // null: the text is one word. kUnsupported names a type we do not know. When `model_takes_bytes`, a chain that ends by
  // writing bytes as characters (ByteLevel) leaves that step out, and yields_bytes() tells so.
  static Result<PreTokenizer> parse(const nlohmann::ordered_json& config, bool model_takes_bytes);

  bool yields_bytes() const { return yields_bytes_; }

  void run(Words& words) const;

 private:
  using Step = std::function<void(Words&)>;
  Result<void> add(const nlohmann::ordered_json& config);
  Result<void> add_split(const nlohmann::ordered_json& config);
  void add_byte_level(bool add_prefix_space, bool use_regex);

  std::vector<Step> steps_;
  bool ends_with_byte_characters_ = false;
  bool yields_bytes_ = false;
};

}  // namespace cohort::text
