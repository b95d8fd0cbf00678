#include "images/image_dialect.h"

#include <algorithm>
#include <array>

#include "base/error.h"
#include "formats/json.h"

namespace chorus {
namespace {

constexpr std::array kExtras{"steps", "seed", "cfg_scale", "negative_prompt", "sampler", kSdCpp};

const json::value* member(const json::value& value, std::string_view name) {
  const json::object* object = value.if_object();
  return object == nullptr ? nullptr : object->if_contains(name);
}

const json::string* text_member(const json::value& value, std::string_view name) {
  const json::value* found = member(value, name);
  return found == nullptr ? nullptr : found->if_string();
}

json::value parse_answer(std::string_view body) {
  try {
    return parse_json(body, "the image engine's answer");
  } catch (const Error&) {
    fail("the image engine's answer is no JSON: {}", printable(body));
  }
}

json::object sdapi_body(const ImageRequest& request) {
  // "karras" in lower case: stable-diffusion.cpp passes over other spellings.
  return {{"prompt", request.prompt}, {"negative_prompt", request.negative_prompt},
          {"width", request.width},   {"height", request.height},
          {"steps", request.steps},   {"cfg_scale", request.cfg_scale},
          {"seed", request.seed},     {"sampler_name", request.sampler},
          {"scheduler", "karras"},    {"batch_size", 1}};
}

json::value extra_value(const ImageRequest& request, std::string_view name) {
  if (name == "steps") return request.steps;
  if (name == "seed") return request.seed;
  if (name == "cfg_scale") return request.cfg_scale;
  if (name == "sampler") return json::value(request.sampler);
  return json::value(request.negative_prompt);
}

std::string sd_cpp_words(const ImageRequest& request) {
  const json::object words{
      {"seed", request.seed},
      {"negative_prompt", request.negative_prompt},
      {"sample_params", {{"sample_steps", request.steps}, {"guidance", {{"txt_cfg", request.cfg_scale}}}}}};
  return fmt::format(" <sd_cpp_extra_args>{}</sd_cpp_extra_args>", json::serialize(words));
}

json::object openai_body(const ImageRequest& request, const ImageExtras& extras) {
  json::object body{{"prompt", request.prompt},
                    {"n", 1},
                    {"size", fmt::format("{}x{}", request.width, request.height)},
                    {"response_format", "b64_json"}};
  for (const auto& [name, field] : extras) {
    if (name == kSdCpp)
      body["prompt"] = request.prompt + sd_cpp_words(request);
    else
      body[field] = extra_value(request, name);
  }
  return body;
}

const json::value* first(const json::value& answer, std::string_view list) {
  const json::value* values = member(answer, list);
  const json::array* array = values == nullptr ? nullptr : values->if_array();
  return array == nullptr || array->empty() ? nullptr : &array->front();
}

}  // namespace

std::string_view image_dialect_name(ImageDialect dialect) {
  return dialect == ImageDialect::kSdapi ? "sdapi" : "openai";
}

void check_image_extra(const std::string& name) {
  if (std::ranges::find(kExtras, name) == kExtras.end())
    fail("{}: an image engine's extra must be one of {}", printable(name), fmt::join(kExtras, ", "));
}

std::string image_path(ImageDialect dialect) {
  return dialect == ImageDialect::kSdapi ? "/sdapi/v1/txt2img" : "/v1/images/generations";
}

std::string image_body(ImageDialect dialect, const ImageRequest& request, const ImageExtras& extras) {
  return json::serialize(dialect == ImageDialect::kSdapi ? sdapi_body(request)
                                                         : openai_body(request, extras));
}

std::string read_image_answer(ImageDialect dialect, std::string_view body) {
  const json::value answer = parse_answer(body);
  const bool sdapi = dialect == ImageDialect::kSdapi;
  const json::value* image = first(answer, sdapi ? "images" : "data");
  if (image == nullptr) fail("the image engine's answer has no picture in it");
  const json::string* text = sdapi ? image->if_string() : text_member(*image, "b64_json");
  if (text != nullptr) return std::string(*text);
  const json::string* url = sdapi ? nullptr : text_member(*image, "url");
  if (url != nullptr && url->starts_with("data:")) return std::string(*url);
  if (url != nullptr) fail("the image engine sent an address in place of a picture; it must send b64_json");
  fail("the image engine's answer has no picture in it");
}

std::string image_error_text(int status, std::string_view body) {
  std::string said(body.substr(0, 300));
  try {
    const json::value answer = parse_json(body, "the answer");
    const json::value* error = member(answer, "error");
    for (const json::value* from : {error, &answer}) {
      if (from == nullptr) continue;
      for (const char* name : {"message", "detail", "errors", "error"}) {
        const json::string* text = text_member(*from, name);
        if (text == nullptr || text->empty()) continue;
        return fmt::format("the image engine says {}: {}", status, printable(*text, 300));
      }
    }
  } catch (const Error&) {
    // Its words as they are.
  }
  return fmt::format("the image engine says {}: {}", status, printable(said, 300));
}

std::string read_image_model(ImageDialect dialect, std::string_view body) {
  const json::value answer = parse_answer(body);
  const json::value* card = dialect == ImageDialect::kSdapi ? &answer : first(answer, "data");
  if (card == nullptr) return {};
  const json::string* name =
      text_member(*card, dialect == ImageDialect::kSdapi ? "sd_model_checkpoint" : "id");
  return name == nullptr ? std::string() : printable(*name, 200);
}

ImageProgress read_image_progress(std::string_view body) {
  const json::value answer = parse_answer(body);
  const auto number = [](const json::value* value) {
    return value != nullptr && value->is_number() ? value->to_number<double>() : 0;
  };
  ImageProgress progress{std::clamp(number(member(answer, "progress")), 0.0, 1.0)};
  const json::value* state = member(answer, "state");
  if (state == nullptr) return progress;
  const auto steps = [&](const char* name) {
    return static_cast<int>(std::clamp(number(member(*state, name)), 0.0, 1e6));
  };
  progress.step = steps("sampling_step");
  progress.steps = steps("sampling_steps");
  return progress;
}

}  // namespace chorus
