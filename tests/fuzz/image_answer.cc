// What an image engine may send, and what a language model may have written for it: answers of both dialects,
// pictures, prompts. What goes to an engine must be within its bounds and hold no commands.

#include "fuzz_target.h"
#include "images/image_dialect.h"
#include "images/picture.h"
#include "images/prompt_text.h"

namespace {

template <typename F>
void attempt(const F& action) {
  try {
    action();
  } catch (const chorus::Error&) {
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view text = chorus::text_of(data, size);
  for (const auto dialect : {chorus::ImageDialect::kSdapi, chorus::ImageDialect::kOpenAi}) {
    attempt([&] { chorus::decode_base64(chorus::read_image_answer(dialect, text)); });
    attempt([&] { chorus::require(chorus::read_image_model(dialect, text).size() <= 1024); });
  }
  attempt([&] {
    const chorus::ImageProgress progress = chorus::read_image_progress(text);
    chorus::require(progress.share >= 0 && progress.share <= 1 && progress.step >= 0 && progress.steps >= 0);
  });
  attempt([&] {
    const chorus::PictureSize picture = chorus::read_picture_size(text);
    chorus::require(picture.width > 0 && picture.width <= chorus::kMaxPictureSide && picture.height > 0 &&
                    picture.height <= chorus::kMaxPictureSide);
  });
  attempt([&] { chorus::decode_base64(text); });
  chorus::require(chorus::image_error_text(500, text).find('\n') == std::string::npos);
  for (const chorus::ImageStyle& style : chorus::image_styles()) {
    const std::string prompt = chorus::styled_image_prompt(text, style);
    chorus::require(prompt.size() <= chorus::kMaxPromptBytes + style.before.size() + style.behind.size());
    chorus::require(prompt.find_first_of("<>()[]{}|\\:\n") == std::string::npos);
  }
  return 0;
}
