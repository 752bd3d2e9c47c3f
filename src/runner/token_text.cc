#include "runner/token_text.h"

#include <charconv>
#include <optional>
#include <string_view>

#include "text/byte_alphabet.h"

namespace cohort::runner {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD
constexpr std::string_view kWordStart = "\xE2\x96\x81";    // U+2581, SentencePiece's space

// <0x0A>: a single byte where the vocabulary has no piece for it.
std::optional<std::string> byte_of_fallback(std::string_view piece) {
  if (piece.size() != 6 || !piece.starts_with("<0x") || piece.back() != '>') return std::nullopt;
  uint8_t byte = 0;
  const auto [end, error] = std::from_chars(piece.data() + 3, piece.data() + 5, byte, 16);
  if (error != std::errc() || end != piece.data() + 5) return std::nullopt;
  return std::string(1, static_cast<char>(byte));
}

}  // namespace

TokenText token_text(const text::Tokenizer& tokenizer, text::TokenId id) {
  const std::string raw = tokenizer.id_to_token(id);
  TokenText result{.piece = tokenizer.decode({{id}}, /*skip_special_tokens=*/false), .bytes = {}};
  // A decoder drops the space of an answer's first word; this token may stand anywhere.
  if (raw.starts_with(kWordStart) && !result.piece.starts_with(' '))
    result.piece.insert(result.piece.begin(), ' ');
  std::string bytes = result.piece;
  if (result.piece.find(kReplacement) != std::string::npos) {
    auto exact = byte_of_fallback(raw);
    if (!exact) exact = text::bytes_of_characters(raw);
    bytes = exact.value_or(bytes);
  }
  result.bytes.assign(bytes.begin(), bytes.end());
  return result;
}

}  // namespace cohort::runner
