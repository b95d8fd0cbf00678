#include "grammar/regex_classes.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>

namespace chorus {
namespace {

constexpr uint32_t kCodepoints = 0x110000;

struct CategoryName {
  std::string_view short_name, long_name;
};

// In utf8proc's order of categories.
constexpr std::array<CategoryName, 30> kNames = {{
    {"Cn", "Unassigned"},
    {"Lu", "Uppercase_Letter"},
    {"Ll", "Lowercase_Letter"},
    {"Lt", "Titlecase_Letter"},
    {"Lm", "Modifier_Letter"},
    {"Lo", "Other_Letter"},
    {"Mn", "Nonspacing_Mark"},
    {"Mc", "Spacing_Mark"},
    {"Me", "Enclosing_Mark"},
    {"Nd", "Decimal_Number"},
    {"Nl", "Letter_Number"},
    {"No", "Other_Number"},
    {"Pc", "Connector_Punctuation"},
    {"Pd", "Dash_Punctuation"},
    {"Ps", "Open_Punctuation"},
    {"Pe", "Close_Punctuation"},
    {"Pi", "Initial_Punctuation"},
    {"Pf", "Final_Punctuation"},
    {"Po", "Other_Punctuation"},
    {"Sm", "Math_Symbol"},
    {"Sc", "Currency_Symbol"},
    {"Sk", "Modifier_Symbol"},
    {"So", "Other_Symbol"},
    {"Zs", "Space_Separator"},
    {"Zl", "Line_Separator"},
    {"Zp", "Paragraph_Separator"},
    {"Cc", "Control"},
    {"Cf", "Format"},
    {"Cs", "Surrogate"},
    {"Co", "Private_Use"},
}};

constexpr std::array<CategoryName, 7> kGroups = {{{"L", "Letter"},
                                                  {"M", "Mark"},
                                                  {"N", "Number"},
                                                  {"P", "Punctuation"},
                                                  {"S", "Symbol"},
                                                  {"Z", "Separator"},
                                                  {"C", "Other"}}};

// Bit i: category i is of that name.
uint32_t categories_named(std::string_view name) {
  uint32_t mask = 0;
  for (size_t i = 0; i < kNames.size(); ++i) {
    if (name == kNames[i].short_name || name == kNames[i].long_name) mask |= 1u << i;
  }
  for (const CategoryName& group : kGroups) {
    if (name != group.short_name && name != group.long_name) continue;
    for (size_t i = 0; i < kNames.size(); ++i)
      mask |= kNames[i].short_name.starts_with(group.short_name) ? 1u << i : 0;
  }
  return mask;
}

}  // namespace

std::vector<CodepointRange> digit_class() { return {{'0', '9'}}; }

std::vector<CodepointRange> word_class() { return {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}}; }

std::vector<CodepointRange> space_class() {
  return {{0x09, 0x0D},     {0x20, 0x20},     {0xA0, 0xA0},     {0x1680, 0x1680}, {0x2000, 0x200A},
          {0x2028, 0x2029}, {0x202F, 0x202F}, {0x205F, 0x205F}, {0x3000, 0x3000}, {0xFEFF, 0xFEFF}};
}

std::vector<CodepointRange> line_terminator_class() { return {{'\n', '\n'}, {'\r', '\r'}, {0x2028, 0x2029}}; }

std::vector<CodepointRange> complement_class(std::vector<CodepointRange> ranges) {
  std::ranges::sort(ranges, {}, &CodepointRange::first);
  std::vector<CodepointRange> rest;
  uint32_t next = 0;
  for (const CodepointRange& range : ranges) {
    if (range.first > next) rest.push_back({next, range.first - 1});
    next = std::max(next, range.last + 1);
  }
  if (next < kCodepoints) rest.push_back({next, kCodepoints - 1});
  return rest;
}

bool UnicodeCategories::find(std::string_view name, std::vector<CodepointRange>& ranges) {
  if (name == "Any" || name == "ASCII") {
    ranges = {{0, name == "Any" ? kCodepoints - 1 : 0x7F}};
    return true;
  }
  for (const std::string_view prefix : {"General_Category=", "gc="}) {
    if (name.starts_with(prefix)) name.remove_prefix(prefix.size());
  }
  const uint32_t mask = categories_named(name);
  if (mask == 0) return false;
  if (categories_.empty()) {
    categories_.resize(kCodepoints);
    for (uint32_t c = 0; c < kCodepoints; ++c)
      categories_[c] = static_cast<uint8_t>(utf8proc_category(static_cast<utf8proc_int32_t>(c)));
  }
  ranges.clear();
  for (uint32_t c = 0; c < kCodepoints; ++c) {
    if ((mask >> categories_[c] & 1) == 0) continue;
    if (!ranges.empty() && ranges.back().last + 1 == c) {
      ++ranges.back().last;
    } else {
      ranges.push_back({c, c});
    }
  }
  return true;
}

}  // namespace chorus
