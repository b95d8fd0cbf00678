#include "engine/validate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "base/error.h"
#include "engine/fake_model.h"
#include "formats/tokenizer_golden.h"
#include "grammar/sources.h"

namespace chorus {
namespace {

RequestLimits limits() {
  RequestLimits limits;
  limits.vocab = 100;
  limits.context_length = 64;
  limits.pages = 3;
  limits.max_lora_floats_per_row = 16;
  return limits;
}

Request good() {
  Request request;
  request.prompt = {1, 2, 99};
  request.stop_ids = {0, 99};
  request.sampling.logit_bias = {{99, -100.0f}};
  request.adapters = {{fake_adapter("a", 8), 1}, {fake_adapter("b", 8), -2}};
  return request;
}

// What the request is refused with after `change`; empty: accepted.
std::string refusal(const std::function<void(Request&)>& change) {
  Request request = good();
  change(request);
  try {
    validate(request, limits());
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

bool names(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(Validate, AcceptsWhatIsWithinEveryLimit) {
  EXPECT_EQ(refusal([](Request&) {}), "");
  EXPECT_EQ(refusal([](Request& r) { r.max_tokens = r.min_tokens = 46; }), "");  // 3 + 46 - 1 = 48 positions
  EXPECT_EQ(refusal([](Request& r) {
              r.prompt_logprobs = true;
              r.max_tokens = 0;
            }),
            "");
  EXPECT_EQ(refusal([](Request& r) { r.sampling.top_k = std::numeric_limits<int>::max(); }), "");
}

TEST(Validate, RefusesAConstraintThatCouldNotEnd) {
  const Tokenizer tokenizer = load_golden("smollm");
  ConstraintCompiler compiler(tokenizer, tokenizer.stop_ids(), [] {});
  const ConstraintHandle constraint = compiler.compile("a", [] { return choice_grammar({"a"}); });
  EXPECT_EQ(refusal([&](Request& r) { r.constraint = constraint; }), "");
  EXPECT_TRUE(names(refusal([&](Request& r) {
                      r.constraint = constraint;
                      r.ignore_stop_ids = true;
                    }),
                    "ignore_eos"));
}

TEST(Validate, RefusesIdsOutsideTheVocabulary) {
  for (const int32_t id :
       {-1, 100, std::numeric_limits<int32_t>::max(), std::numeric_limits<int32_t>::min()}) {
    EXPECT_TRUE(names(refusal([&](Request& r) { r.prompt[1] = id; }), "prompt"));
    EXPECT_TRUE(names(refusal([&](Request& r) { r.stop_ids[1] = id; }), "stop ids"));
    EXPECT_TRUE(names(refusal([&](Request& r) { r.sampling.logit_bias[0].first = id; }), "logit_bias"));
  }
}

TEST(Validate, RefusesSizesBeyondContextAndPool) {
  EXPECT_TRUE(names(refusal([](Request& r) { r.prompt.clear(); }), "empty"));
  EXPECT_TRUE(names(refusal([](Request& r) { r.max_tokens = 62; }), "context length, 64"));
  EXPECT_TRUE(names(refusal([](Request& r) { r.max_tokens = 47; }), "48 positions"));
  EXPECT_TRUE(names(refusal([](Request& r) { r.prompt.resize(1000); }), "context length"));
}

TEST(Validate, RefusesNumbersOutOfRange) {
  const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  const auto float_field = [&](const std::string& name, float SamplingParams::*field, float low, float high) {
    for (const float bad : {nan, inf, -inf, low, high})
      EXPECT_TRUE(names(refusal([&](Request& r) { r.sampling.*field = bad; }), name + " is")) << name << bad;
  };
  float_field("temperature", &SamplingParams::temperature, -0.1f, 101);
  float_field("top_p", &SamplingParams::top_p, 0, 1.01f);
  float_field("min_p", &SamplingParams::min_p, -0.1f, 1.01f);
  float_field("repetition_penalty", &SamplingParams::repetition_penalty, 0, 101);
  float_field("presence_penalty", &SamplingParams::presence_penalty, -2.1f, 2.1f);
  float_field("frequency_penalty", &SamplingParams::frequency_penalty, -2.1f, 2.1f);

  const int lowest = std::numeric_limits<int>::min(), highest = std::numeric_limits<int>::max();
  for (const int bad : {lowest, -1, 0, highest})
    EXPECT_TRUE(names(refusal([&](Request& r) { r.max_tokens = bad; }), "max_tokens"));
  for (const int bad : {lowest, -1, 17, highest})
    EXPECT_TRUE(names(refusal([&](Request& r) { r.min_tokens = bad; }), "min_tokens"));
  for (const int bad : {lowest, -1, 0, 9, highest})
    EXPECT_TRUE(names(refusal([&](Request& r) { r.samples = bad; }), "n is"));
  for (const int bad : {lowest, -1})
    EXPECT_TRUE(names(refusal([&](Request& r) { r.sampling.top_k = bad; }), "top_k"));
  for (const int bad : {lowest, -2, 21, highest})
    EXPECT_TRUE(names(refusal([&](Request& r) { r.sampling.top_logprobs = bad; }), "logprobs"));
  for (const float bad : {nan, inf, 100.1f})
    EXPECT_TRUE(names(refusal([&](Request& r) { r.sampling.logit_bias[0].second = bad; }), "logit_bias"));
}

TEST(Validate, RefusesAdaptersThatDoNotFit) {
  EXPECT_TRUE(names(refusal([](Request& r) { r.adapters[0].adapter = nullptr; }), "missing"));
  EXPECT_TRUE(names(refusal([](Request& r) { r.adapters[1].scale = std::nanf(""); }), "scale of adapter b"));
  EXPECT_TRUE(names(refusal([](Request& r) { r.adapters.push_back(r.adapters[0]); }), "add up to 24"));
  EXPECT_TRUE(names(refusal([](Request& r) { r.adapters.resize(9, r.adapters[0]); }), "number of adapters"));
}

TEST(Validate, RefusesLongLists) {
  EXPECT_TRUE(names(refusal([](Request& r) { r.stop_ids.resize(1025); }), "stop ids"));
  EXPECT_TRUE(names(refusal([](Request& r) { r.sampling.logit_bias.resize(1025); }), "logit_bias"));
}

}  // namespace
}  // namespace chorus
