// Text <-> token ids as tokenizer.json says.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace cohort::text {

using TokenId = int32_t;

class Decoder;  // text/decoder.h

// A stretch of text: trusted text (the chat template's own) may contain special tokens, untrusted text (what users
// wrote) never becomes one, whatever it says. Special in this sense are also the added tokens that files do not flag as
// such but that look like markers: <|fim_prefix|>, <｜User｜>, <tool_response>, <think>. Added tokens that are plain text
// (runs of spaces or line feeds, <table> where the model's own vocabulary has it) are found everywhere.
struct TextSpan {
  std::string text;
  bool trusted = true;
};

// Immutable after loading; encode and decode are safe from many threads.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;

  // add_special_tokens: what the post-processor puts around (BOS...). Special tokens written in `text` are recognised.
  virtual std::vector<TokenId> encode(std::string_view text, bool add_special_tokens) const = 0;
  // Spans are joined before pre-tokenisation, so a cut does not change how ordinary text is split; only special tokens are
  // looked for in trusted spans alone. No post-processor.
  virtual std::vector<TokenId> encode(std::span<const TextSpan> spans) const = 0;

  virtual std::string decode(std::span<const TokenId> ids, bool skip_special_tokens) const = 0;

  virtual int32_t vocab_size() const = 0;  // largest id + 1
  virtual std::optional<TokenId> token_to_id(std::string_view piece) const = 0;
  virtual std::string id_to_token(TokenId id) const = 0;  // the raw piece; "" when there is none
  virtual bool is_special(TokenId id) const = 0;          // as flagged in the file
  virtual const Decoder& decoder()
      const = 0;  // how pieces become text; lives as long as the tokenizer
};

// `json` is the text of a tokenizer.json. kDataLoss names what is broken ("merges[17] ...: no such piece").
Result<std::unique_ptr<Tokenizer>> load_tokenizer(std::string_view json);

// Turns a stream of ids into text that is always whole UTF-8: bytes of an unfinished character are held back.
// One stream, one thread. Linear in the number of tokens. All pushes and finish() together give what decode() gives,
// except that a broken byte among byte pieces (<0x80>) costs only itself and not the whole run of byte pieces.
// The tokenizer must outlive it.
class Detokenizer {
 public:
  explicit Detokenizer(const Tokenizer& tokenizer, bool skip_special_tokens = true);
  ~Detokenizer();
  Detokenizer(Detokenizer&&) noexcept;

  std::string push(TokenId id);  // the text that became certain
  std::string finish();          // what is left; broken UTF-8 becomes U+FFFD

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace cohort::text
