#include "server/openai_fields.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "server/api_test_model.h"

namespace chorus {
namespace {

// Every number of the table, tried in whole requests.

// A body with one number in its place, as both endpoints call it; kCompletions where both have it.
struct Place {
  Endpoint endpoint = Endpoint::kCompletions;
  json::object body;
};

Place body_with(std::string_view name, const json::value& value) {
  if (name == "max_completion_tokens") return {Endpoint::kChat, chat_body({{name, value}})};
  if (name == "top_logprobs") return {Endpoint::kChat, chat_body({{name, value}, {"logprobs", true}})};
  if (name == "token id")
    return {Endpoint::kCompletions, completion_body({{"stop_token_ids", json::array{value}}})};
  if (name == "logit_bias")
    return {Endpoint::kCompletions, completion_body({{"logit_bias", {{"5", value}}}})};
  if (name == "adapter index") {
    const json::object adapter{{"id", value}, {"scale", 1}};
    return {Endpoint::kCompletions, completion_body({{"lora", json::array{adapter}}})};
  }
  if (name == "scale") {
    const json::object adapter{{"name", "elf"}, {"scale", value}};
    return {Endpoint::kCompletions, completion_body({{"adapters", json::array{adapter}}})};
  }
  if (name == "max_tokens")  // 0 is for scoring a prompt
    return {Endpoint::kCompletions, completion_body({{name, value}, {"echo", true}, {"logprobs", 1}})};
  if (name == "min_tokens")
    return {Endpoint::kCompletions, completion_body({{name, value}, {"max_tokens", 50}})};
  return {Endpoint::kCompletions, completion_body({{name, value}})};
}

// The ApiError's text; "" where the request is accepted.
std::string outcome(std::string_view name, const json::value& value) {
  const Place place = body_with(name, value);
  try {
    read_request(place.body, place.endpoint);
    return "";
  } catch (const ApiError& error) {
    EXPECT_EQ(error.status, 400);
    EXPECT_EQ(error.type, "invalid_request_error");
    return error.what();
  }
}

class EveryNumber : public testing::TestWithParam<NumberField> {
 protected:
  // What depends on the model or on another field bounds these from above long before the table does.
  bool bounded_by_model() const {
    const std::string_view name = GetParam().name;
    return name.ends_with("_tokens") || name == "token id";
  }
};

TEST_P(EveryNumber, IsAcceptedWithinItsRangeAndRefusedBeyond) {
  const NumberField& f = GetParam();
  if (f.integer) {
    EXPECT_EQ(outcome(f.name, f.integer_min), "");
    if (f.integer_min > std::numeric_limits<int64_t>::min()) {
      EXPECT_NE(outcome(f.name, f.integer_min - 1), "");
    }
    if (!bounded_by_model()) {
      EXPECT_EQ(outcome(f.name, f.integer_max), "");
    }
    const uint64_t beyond = static_cast<uint64_t>(f.integer_max) + 1;
    EXPECT_NE(outcome(f.name, beyond), "");
    EXPECT_NE(outcome(f.name, std::numeric_limits<uint64_t>::max()), "");
    EXPECT_NE(outcome(f.name, static_cast<double>(f.integer_min) + 0.5), "");
    EXPECT_NE(outcome(f.name, 1e300), "");
  } else {
    EXPECT_EQ(outcome(f.name, f.min), "");
    EXPECT_EQ(outcome(f.name, f.max), "");
    EXPECT_NE(outcome(f.name, std::nextafter(f.min, -1e9)), "");
    EXPECT_NE(outcome(f.name, std::nextafter(f.max, 1e9)), "");
    EXPECT_NE(outcome(f.name, std::nan("")), "");
    EXPECT_NE(outcome(f.name, std::numeric_limits<double>::infinity()), "");
  }
}

TEST_P(EveryNumber, IsRefusedInAnotherType) {
  for (const json::value& wrong : {json::value("1"), json::value(true), json::value(json::array{1}),
                                   json::value(json::object{{"a", 1}})})
    EXPECT_NE(outcome(GetParam().name, wrong), "") << wrong;
}

TEST_P(EveryNumber, NullCountsAsAbsent) {
  const std::string_view name = GetParam().name;
  if (name == "token id" || name == "adapter index" || name == "logit_bias") {
    EXPECT_NE(outcome(name, nullptr), "");  // an element of a list cannot be absent
  } else {
    EXPECT_EQ(outcome(name, nullptr), "");
  }
}

INSTANTIATE_TEST_SUITE_P(Table, EveryNumber,
                         testing::ValuesIn(number_fields().begin(), number_fields().end()),
                         [](const auto& info) {
                           std::string name(info.param.name);
                           std::replace(name.begin(), name.end(), ' ', '_');
                           return name;
                         });

}  // namespace
}  // namespace chorus
