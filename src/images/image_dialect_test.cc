#include "images/image_dialect.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "formats/json.h"

namespace chorus {
namespace {

const ImageRequest kRequest{"a cat", "hats", 768, 512, 7, 20, 5.5, "Euler"};

TEST(ImageDialect, Sdapi) {
  const json::value body = parse_json(image_body(ImageDialect::kSdapi, kRequest, {}), "it");
  const json::value expected{{"prompt", "a cat"},
                             {"negative_prompt", "hats"},
                             {"width", 768},
                             {"height", 512},
                             {"steps", 20},
                             {"cfg_scale", 5.5},
                             {"seed", 7},
                             {"sampler_name", "Euler"},
                             {"scheduler", "karras"},
                             {"batch_size", 1}};
  EXPECT_EQ(body, expected);
}

TEST(ImageDialect, OpenAi) {
  json::value expected{{"prompt", "a cat"}, {"n", 1}, {"size", "768x512"}, {"response_format", "b64_json"}};
  EXPECT_EQ(parse_json(image_body(ImageDialect::kOpenAi, kRequest, {}), "it"), expected);
  const ImageExtras extras{{"steps", "num_inference_steps"}, {"negative_prompt", "negative_prompt"}};
  expected.as_object()["num_inference_steps"] = 20;
  expected.as_object()["negative_prompt"] = "hats";
  EXPECT_EQ(parse_json(image_body(ImageDialect::kOpenAi, kRequest, extras), "it"), expected);
  const json::value own = parse_json(image_body(ImageDialect::kOpenAi, kRequest, {{kSdCpp, ""}}), "it");
  const std::string prompt(own.at("prompt").as_string());
  EXPECT_TRUE(prompt.starts_with("a cat <sd_cpp_extra_args>{\"seed\":7,")) << prompt;
}

TEST(ImageDialect, ExtrasAreOfOurs) {
  EXPECT_NO_THROW(check_image_extra("steps"));
  EXPECT_THROW(check_image_extra("step"), Error);
}

TEST(ImageDialect, Answers) {
  EXPECT_EQ(read_image_answer(ImageDialect::kSdapi, R"({"images":["QUJD"],"info":""})"), "QUJD");
  EXPECT_EQ(read_image_answer(ImageDialect::kOpenAi, R"({"data":[{"b64_json":"QUJD"}]})"), "QUJD");
  EXPECT_EQ(read_image_answer(ImageDialect::kOpenAi, R"({"data":[{"url":"data:image/png;base64,QUJD"}]})"),
            "data:image/png;base64,QUJD");
  for (const char* body :
       {"", "<html>", "{}", "[]", R"({"images":[]})", R"({"images":[7]})", R"({"images":{}})"})
    EXPECT_THROW(read_image_answer(ImageDialect::kSdapi, body), Error) << body;
  for (const char* body : {R"({"data":[{"url":"http://x/y.png"}]})", R"({"data":[{}]})", R"({"data":["x"]})"})
    EXPECT_THROW(read_image_answer(ImageDialect::kOpenAi, body), Error) << body;
}

TEST(ImageDialect, Errors) {
  EXPECT_EQ(image_error_text(500, R"({"error":"server_error","message":"no\nmemory"})"),
            "the image engine says 500: no\\x0amemory");
  EXPECT_EQ(image_error_text(400, R"({"error":"prompt required"})"),
            "the image engine says 400: prompt required");
  EXPECT_EQ(image_error_text(400, R"({"error":{"message":"bad"}})"), "the image engine says 400: bad");
  EXPECT_EQ(image_error_text(502, "<html>"), "the image engine says 502: <html>");
  EXPECT_LT(image_error_text(500, std::string(100'000, 'x')).size(), 400);
}

TEST(ImageDialect, ModelsAndProgress) {
  EXPECT_EQ(read_image_model(ImageDialect::kSdapi, R"({"sd_model_checkpoint":"xl"})"), "xl");
  EXPECT_EQ(read_image_model(ImageDialect::kSdapi, R"([{"title":"xl"}])"), "");
  EXPECT_EQ(read_image_model(ImageDialect::kOpenAi, R"({"data":[{"id":"sd"}]})"), "sd");
  EXPECT_THROW(read_image_model(ImageDialect::kOpenAi, "<html>"), Error);
  const ImageProgress progress =
      read_image_progress(R"({"progress":0.4,"state":{"sampling_step":8,"sampling_steps":20}})");
  EXPECT_DOUBLE_EQ(progress.share, 0.4);
  EXPECT_EQ(progress.step, 8);
  EXPECT_EQ(progress.steps, 20);
  EXPECT_DOUBLE_EQ(read_image_progress(R"({"progress":7,"state":null})").share, 1);
}

}  // namespace
}  // namespace chorus
