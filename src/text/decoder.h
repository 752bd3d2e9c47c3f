// tokenizer.json's "decoder": pieces of the vocabulary -> text. Works on a stream; a whole answer is the stream, drained.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "base/result.h"

namespace cohort::text {

// An immutable chain of steps. The default one joins pieces as they are.
class Decoder {
 public:
  Decoder() = default;
  // null: pieces are joined by spaces.
  static Result<Decoder> parse(const nlohmann::ordered_json& config);

 private:
  friend class DecodeStream;
  enum class Kind {
    kJoinBySpace,   // a space before every piece but the first
    kByteLevel,     // the alphabet of byte-level BPE back to bytes, those to UTF-8
    kByteFallback,  // runs of <0x..> pieces to UTF-8
    kFuse,          // what follows sees one text instead of pieces
    kReplace,       // `from` by `to`
    kMetaspace,     // `from` by a space; dropped in the first piece when `flag`
    kStrip,         // up to `start` of `from` at the front and `stop` at the back
  };
  struct Step {
    Kind kind = Kind::kFuse;
    std::string from;
    std::string to;
    size_t start = 0;
    size_t stop = 0;
    bool flag = false;
    bool fused = false;  // sees a stream instead of pieces
  };
  Result<void> add(const nlohmann::ordered_json& config);
  static Result<Step> make_step(const nlohmann::ordered_json& config);

  std::vector<Step> steps_;
};

// One answer. The decoder must outlive it.
class DecodeStream {
 public:
  // eager: characters made of byte pieces are given out when complete, not at the end of the run of byte pieces.
  DecodeStream(const Decoder& decoder, bool eager);

  // Appends the text that became certain; always whole characters.
  void push(std::string_view piece, std::string& out);
  void finish(std::string& out);  // what is left; bytes that are no UTF-8 become U+FFFD

 private:
  struct State {
    bool begun = false;
    size_t stripped = 0;  // kStrip of a stream: how many are gone at the front
    std::string pending;  // held back
  };
  void feed(size_t index, std::string_view text, std::string& out);
  void feed_next(size_t index, std::string_view text, std::string& out);
  void drain(size_t index, std::string& out);
  void feed_bytes(size_t index, std::string_view bytes, std::string& out);
  void feed_byte_piece(size_t index, char byte, std::string& out);
  void flush_byte_pieces(size_t index, std::string& out);
  void feed_replaced(size_t index, std::string_view text, std::string& out);
  void feed_stripped(size_t index, std::string_view text, std::string& out);

  const Decoder& decoder_;
  bool eager_;
  std::vector<State> states_;  // one per step
};

}  // namespace cohort::text
