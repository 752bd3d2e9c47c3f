// Byte-level BPE writes every byte as a printable character: itself where it is one, else U+0100 and up.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace cohort::text {

// The character of a byte, as UTF-8 (one or two bytes).
std::string_view byte_character(unsigned char byte);
void append_byte_characters(std::string& out, std::string_view bytes);
// The bytes that `characters` stand for; nothing when one of them is not of the alphabet. Must be valid UTF-8.
std::optional<std::string> bytes_of_characters(std::string_view characters);

}  // namespace cohort::text
