#include <gtest/gtest.h>

#include "base/error.h"
#include "formats/tokenizer_golden.h"
#include "grammar/constraint.h"
#include "grammar/grammar_test.h"
#include "grammar/sources.h"

namespace chorus {
namespace {

json::value many_properties(int count) {
  json::object properties;
  for (int i = 0; i < count; ++i) {
    properties[fmt::format("property_{}", i)] =
        json::value{{"type", "array"}, {"items", {{"type", "string"}, {"maxLength", 100}}}};
  }
  return json::value{
      {"type", "object"}, {"properties", std::move(properties)}, {"additionalProperties", true}};
}

json::value long_enum(int count) {
  json::array values;
  for (int i = 0; i < count; ++i) values.emplace_back(fmt::format("value {}", i * 7919));
  return json::value{{"enum", std::move(values)}};
}

// What clients send compiles within the default bounds, and a whole answer passes.
TEST(Schema, CompilesWithinTheBounds) {
  const Tokenizer tokenizer = load_golden("smollm");
  ConstraintCompiler compiler(tokenizer, tokenizer.stop_ids(), [] {},
                              {.compile_time = std::chrono::seconds(10)});  // under a sanitizer too
  const json::value person = parse_json(
      R"({"type": "object", "required": ["name", "age", "tags"], "additionalProperties": false, "properties": {
          "name": {"type": "string", "minLength": 1, "maxLength": 80}, "age": {"type": "integer", "minimum": 0,
          "maximum": 150}, "born": {"type": "string", "format": "date"}, "tags": {"type": "array", "uniqueItems":
          true, "items": {"enum": ["a", "b", "c"]}}, "parent": {"$ref": "#"}}})",
      "schema");
  const json::value schemas[] = {json::value(true), person, many_properties(100), long_enum(10'000)};
  const char* answers[] = {R"({"a": [1, "é\n", null]})",
                           R"({"name": "Ada", "age": 36, "born": "1815-12-10", "tags": ["a", "c"]})",
                           R"({"property_3": ["x"], "more": 1})", R"("value 79182081")"};
  for (int i = 0; i < 4; ++i) {
    const auto begin = std::chrono::steady_clock::now();
    const ConstraintHandle constraint =
        compiler.compile(std::to_string(i), [&] { return schema_grammar(schemas[i]); });
    const std::chrono::duration<double, std::milli> spent = std::chrono::steady_clock::now() - begin;
    RecordProperty(fmt::format("compile_ms_{}", i), fmt::format("{:.1f}", spent.count()));
    std::string_view text = answers[i];
    ConstraintState state(constraint);
    while (!text.empty()) {
      ASSERT_TRUE(wait_ready(state)) << i;
      ASSERT_FALSE(state.failed()) << state.error();
      int32_t longest = -1;
      for (int32_t id = 0; id < tokenizer.vocab_size(); ++id) {
        const std::string bytes = tokenizer.token_bytes(id);
        const bool longer = longest < 0 || bytes.size() > tokenizer.token_bytes(longest).size();
        if (!bytes.empty() && !tokenizer.is_special(id) && text.starts_with(bytes) && longer) longest = id;
      }
      ASSERT_GE(longest, 0);
      ASSERT_TRUE(allowed(state.mask(), longest)) << i << " before " << text;
      state.advance(longest);
      text.remove_prefix(tokenizer.token_bytes(longest).size());
    }
    ASSERT_TRUE(wait_ready(state));
    EXPECT_TRUE(allowed(state.mask(), tokenizer.stop_ids()[0])) << i;
  }
}

}  // namespace
}  // namespace chorus
