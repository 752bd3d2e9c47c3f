#pragma once

#include <string>
#include <string_view>

namespace cohort::mesh {

std::string hexadecimal(std::string_view bytes);
std::string from_hexadecimal(std::string_view text);  // lower case only; "": it is none

}  // namespace cohort::mesh
