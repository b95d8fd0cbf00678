#pragma once

#include <span>
#include <string>
#include <string_view>

namespace chorus {

// How a picture is to look, in words around those that say what it shows.
struct ImageStyle {
  std::string_view name, before, behind;
  std::string_view negative;  // what it should not show
};

// The first has no words of its own.
std::span<const ImageStyle> image_styles();
const ImageStyle* find_image_style(std::string_view name);  // null: there is none

constexpr size_t kMaxPromptBytes = 600;
// Of a whole prompt: about the 75 tokens of CLIP that an engine encodes together, at 1.3 tokens a word.
constexpr int kMaxPromptWords = 57;

// What a language model wrote, without what image engines take for commands (weights, LoRA tags, arguments of
// stable-diffusion.cpp: < > ( ) [ ] { } | \ :) and without control characters, on one line. At most `words`
// words and kMaxPromptBytes, cut behind a phrase where one ends.
std::string clean_image_prompt(std::string_view text, int words = kMaxPromptWords);

// A cleaned prompt in a style; what is cut to make room is the prompt's end.
std::string styled_image_prompt(std::string_view text, const ImageStyle& style);
// The style's and the request's own, cleaned.
std::string negative_image_prompt(std::string_view text, const ImageStyle& style);

}  // namespace chorus
