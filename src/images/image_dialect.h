#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace chorus {

// What an engine speaks.
enum class ImageDialect : uint8_t {
  kSdapi,  // AUTOMATIC1111's /sdapi/v1: also Forge, SD.Next, KoboldCpp, stable-diffusion.cpp's server
  kOpenAi  // /v1/images/generations
};
std::string_view image_dialect_name(ImageDialect dialect);  // "sdapi" or "openai"

// A picture to be drawn. The prompts are fit for an engine (prompt_text.h).
struct ImageRequest {
  std::string prompt, negative_prompt;
  int width = 1024, height = 1024;
  int64_t seed = 0;
  int steps = 25;
  double cfg_scale = 6;
  std::string sampler = "Euler a";
};

// What OpenAI's dialect has no words for and an engine still takes: our name ("steps", "seed", "cfg_scale",
// "negative_prompt", "sampler") -> its field. kSdCpp -> anything: as stable-diffusion.cpp reads it, inside
// the prompt.
using ImageExtras = std::map<std::string, std::string>;
inline constexpr const char* kSdCpp = "sd_cpp";
// Error: `name` is none of ours.
void check_image_extra(const std::string& name);

// The body of the request and the path it goes to.
std::string image_path(ImageDialect dialect);
std::string image_body(ImageDialect dialect, const ImageRequest& request, const ImageExtras& extras);

// The picture in an engine's answer, in base64. Error: there is none, or only the address of one.
std::string read_image_answer(ImageDialect dialect, std::string_view body);
// What an engine says of its failure, as one line.
std::string image_error_text(int status, std::string_view body);
// The name of the model in an answer to the engine's own question for it; empty: it does not say.
std::string read_image_model(ImageDialect dialect, std::string_view body);

struct ImageProgress {
  double share = 0;  // 0 to 1
  int step = 0, steps = 0;
};
// Error: it is none.
ImageProgress read_image_progress(std::string_view body);

}  // namespace chorus
