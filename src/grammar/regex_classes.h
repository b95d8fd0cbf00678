#pragma once

#include <string_view>
#include <vector>

#include "grammar/grammar.h"

namespace chorus {

std::vector<CodepointRange> digit_class();
std::vector<CodepointRange> word_class();
std::vector<CodepointRange> space_class();            // white space and line ends of ECMA 262
std::vector<CodepointRange> line_terminator_class();  // what "." leaves out

// All code points outside the ranges, which may come in any order.
std::vector<CodepointRange> complement_class(std::vector<CodepointRange> ranges);

// The sets of \p{...}: Unicode's general categories by their short or long names ("L", "Lu", "Letter"), with
// or without "General_Category=" or "gc=", and Any, ASCII. Goes through the code points once, where first
// used.
class UnicodeCategories {
 public:
  // False: no such name.
  bool find(std::string_view name, std::vector<CodepointRange>& ranges);

 private:
  std::vector<uint8_t> categories_;
};

}  // namespace chorus
