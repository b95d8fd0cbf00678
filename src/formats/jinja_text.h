#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/utf8.h"

// Python's str on UTF-8: positions and lengths count code points.
namespace chorus::jinja {

bool is_space(uint32_t code_point);
bool is_word(uint32_t code_point);  // \w: letters, digits, '_'

size_t char_count(std::string_view text);
// The byte offset of the code point `index`, at most text.size().
size_t char_offset(std::string_view text, size_t index);
std::vector<std::string_view> chars(std::string_view text);

// Strips from the chosen ends: white space, or the characters of `set`.
struct Ends {
  bool left = true, right = true;
};
std::string_view strip(std::string_view text, Ends ends = {});
std::string_view strip(std::string_view text, std::string_view set, Ends ends = {});

std::string upper(std::string_view text);
std::string lower(std::string_view text);
std::string capitalize(std::string_view text);
std::string title(std::string_view text);         // str.title()
std::string title_filter(std::string_view text);  // the filter's words differ: "it's" is one

// At most `most` replacements or splits, counted from the left.
std::string replace(std::string_view text, std::string_view from, std::string_view to, size_t most);
std::vector<std::string_view> split(std::string_view text, std::string_view separator, size_t most);
std::vector<std::string_view> split_right(std::string_view text, std::string_view separator, size_t most);
std::vector<std::string_view> split_space(std::string_view text, size_t most);
std::vector<std::string_view> split_lines(std::string_view text, bool keep_ends = false);
size_t count(std::string_view text, std::string_view part);
size_t count_words(std::string_view text);

std::string quoted(std::string_view text);  // repr()
std::string float_text(double value);       // repr()
std::string escape_html(std::string_view text);

}  // namespace chorus::jinja
