#include "images/prompt_text.h"

#include <algorithm>
#include <array>

namespace chorus {
namespace {

constexpr std::string_view kNegative = "blurry, lowres, deformed, extra limbs, text, watermark";
constexpr std::array<ImageStyle, 6> kStyles{{
    {"none", "", "", kNegative},
    {"cinematic", "cinematic film still, ", ", shallow depth of field, film grain",
     "blurry, lowres, deformed, extra limbs, text, watermark, cartoon, drawing"},
    {"photo", "photograph, ", ", natural light, sharp focus, 35mm",
     "blurry, lowres, deformed, extra limbs, text, watermark, painting, drawing"},
    {"watercolor", "watercolor painting, ", ", soft washes, paper texture",
     "blurry, lowres, deformed, extra limbs, text, watermark, photograph"},
    {"ink", "ink drawing, ", ", black and white, fine lines",
     "blurry, lowres, deformed, extra limbs, text, watermark, photograph, color"},
    {"comic", "comic book panel, ", ", bold outlines, flat colors",
     "blurry, lowres, deformed, extra limbs, text, watermark, photograph"},
}};

constexpr std::string_view kCommands = "<>()[]{}|\\:";

bool is_blank(char c) { return static_cast<unsigned char>(c) <= ' ' || c == '\x7f'; }

// Without commands and control characters, and with one blank for any number of them.
std::string plain(std::string_view text) {
  std::string out;
  for (const char c : text) {
    const bool blank = is_blank(c) || kCommands.find(c) != std::string_view::npos;
    if (blank && (out.empty() || out.back() == ' ')) continue;
    out += blank ? ' ' : c;
  }
  return out;
}

int count_words(std::string_view text) {
  int words = 0;
  for (size_t i = 0; i < text.size(); ++i) words += text[i] != ' ' && (i == 0 || text[i - 1] == ' ') ? 1 : 0;
  return words;
}

// Without blanks and commas at its end.
void trim(std::string& text) {
  while (!text.empty() && (text.back() == ' ' || text.back() == ',')) text.pop_back();
}

// Where the word behind so many begins; text.size() where there are no more.
size_t end_of_words(std::string_view text, int words) {
  size_t at = 0;
  for (int word = 0; word < words && at < text.size(); ++word)
    at = std::min(text.find(' ', at), text.size() - 1) + 1;
  return at;
}

}  // namespace

std::span<const ImageStyle> image_styles() { return kStyles; }

const ImageStyle* find_image_style(std::string_view name) {
  const auto found = std::ranges::find(kStyles, name, &ImageStyle::name);
  return found == kStyles.end() ? nullptr : &*found;
}

std::string clean_image_prompt(std::string_view text, int words) {
  std::string out = plain(text);
  size_t end = std::min(end_of_words(out, std::max(words, 1)), kMaxPromptBytes);
  if (end < out.size()) {
    const size_t phrase = out.rfind(',', end);
    const size_t word = out.rfind(' ', end);
    if (phrase != std::string::npos && phrase > end / 2)
      end = phrase;
    else if (word != std::string::npos && word > end / 2)
      end = word;
    while (end > 0 && (static_cast<unsigned char>(out[end]) & 0xC0U) == 0x80U) --end;
    out.resize(end);
  }
  trim(out);
  return out;
}

std::string styled_image_prompt(std::string_view text, const ImageStyle& style) {
  const int taken = count_words(style.before) + count_words(style.behind);
  std::string out(style.before);
  out += clean_image_prompt(text, kMaxPromptWords - taken);
  out += style.behind;
  trim(out);
  return out;
}

std::string negative_image_prompt(std::string_view text, const ImageStyle& style) {
  std::string own = clean_image_prompt(text);
  if (own.empty()) return std::string(style.negative);
  return own + ", " + std::string(style.negative);
}

}  // namespace chorus
