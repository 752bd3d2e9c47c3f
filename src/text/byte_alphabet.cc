#include "text/byte_alphabet.h"

#include <array>
#include <cstdint>

#include "text/unicode.h"

namespace cohort::text {
namespace {

constexpr char32_t kLastCharacter = 0x143;

struct Alphabet {
  std::array<std::string, 256> characters;
  std::array<int16_t, kLastCharacter + 1> bytes;
};

bool is_itself(unsigned byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

const Alphabet& alphabet() {
  static const Alphabet table = [] {
    Alphabet made;
    made.bytes.fill(-1);
    char32_t next = 0x100;
    for (unsigned byte = 0; byte < 256; ++byte) {
      const char32_t code = is_itself(byte) ? byte : next++;
      append_utf8(made.characters[byte], code);
      made.bytes[code] = static_cast<int16_t>(byte);
    }
    return made;
  }();
  return table;
}

}  // namespace

std::string_view byte_character(unsigned char byte) { return alphabet().characters[byte]; }

void append_byte_characters(std::string& out, std::string_view bytes) {
  const Alphabet& table = alphabet();
  for (const char byte : bytes) out += table.characters[static_cast<unsigned char>(byte)];
}

std::optional<std::string> bytes_of_characters(std::string_view characters) {
  const Alphabet& table = alphabet();
  std::string bytes;
  bytes.reserve(characters.size());
  for (size_t at = 0; at < characters.size();) {
    const Utf8Char c = utf8_at(characters, at);
    if (c.code > kLastCharacter || table.bytes[c.code] < 0) return std::nullopt;
    bytes.push_back(static_cast<char>(table.bytes[c.code]));
    at += c.size;
  }
  return bytes;
}

}  // namespace cohort::text
