#include "formats/chat_template.h"

#include "fuzz_target.h"

namespace {

// A conversation with everything that templates look at.
constexpr std::string_view kVariables = R"({
  "messages": [{"role": "system", "content": "Be \u00e9lf."}, {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
    {"role": "assistant", "content": null, "tool_calls": [{"type": "function", "function": {"name": "f",
      "arguments": {"a": [1, 2.5, true]}}}]}, {"role": "tool", "content": "{}"}, {"role": "user", "content": "x\ny"}],
  "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}],
  "add_generation_prompt": true, "bos_token": "<s>", "eos_token": "</s>"})";

}  // namespace

// Any text as a template: it renders, or ends with an Error of one line.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const chorus::json::object variables = chorus::json::parse(kVariables).as_object();
  try {
    const chorus::TemplateLimits limits{.fuel = 50'000, .output_bytes = 1 << 20};
    const std::string text = chorus::ChatTemplate(chorus::text_of(data, size), limits).render(variables);
    chorus::require(text.size() <= limits.output_bytes);
  } catch (const chorus::Error& error) {
    const std::string_view text = error.what();
    chorus::require(text.starts_with("chat template: ") && text.find('\n') == text.npos);
  }
  return 0;
}
