#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace chorus {

// Text functions on UTF-8. All but to_valid_utf8 expect valid UTF-8; all take time linear in the text, normal
// forms up to a log factor within one run of combining marks.

// The text with every maximal invalid prefix replaced by U+FFFD (as Unicode §3.9 and Python's "replace" do).
std::string to_valid_utf8(std::string_view text);

bool is_white_space(uint32_t code_point);  // the property White_Space
bool is_word(uint32_t code_point);         // \w of UTS #18: letters, marks, digits, connectors, joiners

enum class NormalForm { kNfc, kNfd, kNfkc, kNfkd };

std::string normal_form(std::string_view text, NormalForm form);
std::string lowercase(std::string_view text);  // character by character: no final sigma

// Bytes of white space at the text's start and at its end.
size_t white_space_prefix(std::string_view text);
size_t white_space_suffix(std::string_view text);

// The text's last character; it must not be empty.
uint32_t last_code_point(std::string_view text);

}  // namespace chorus
