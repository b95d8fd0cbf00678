#include "formats/tool_dialect.h"

#include <gtest/gtest.h>

#include "formats/chat_template.h"

namespace chorus {
namespace {

RenderChat renderer(std::string_view source) {
  const auto chat_template = std::make_shared<ChatTemplate>(source);
  return [chat_template](const json::object& variables, bool add_generation_prompt) {
    json::object all = variables;
    all["add_generation_prompt"] = add_generation_prompt;
    return chat_template->render(all);
  };
}

ToolDialect dialect_of(std::string_view source) { return find_tool_dialect(renderer(source), {"<|end|>"}); }

constexpr std::string_view kHermes = R"({% if tools %}{{ tools | tojson }}{% endif %}
{%- for m in messages %}<|{{ m.role }}|>{{ m.content }}
{%- for c in m.tool_calls %}{{ "\n" if loop.first or m.content }}<call>
{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}
</call>{% endfor %}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %})";

constexpr std::string_view kList = R"({% if tools %}{{ tools | tojson }}{% endif %}
{%- for m in messages %}{% if m.tool_calls %}[CALLS] [{% for c in m.tool_calls %}{{ ", " if not loop.first }}
{%- set call = {"name": c.function.name, "arguments": c.function.arguments, "id": c.id} %}{{ call | tojson }}
{%- endfor %}]<|end|>{% else %}[{{ m.content }}]{% endif %}{% endfor %})";

constexpr std::string_view kBare = R"({% for m in messages %}<{{ m.role }}>
{%- if m.tool_calls %}{% if m.tool_calls | length != 1 %}{{ raise_exception("one call only") }}{% endif %}
{%- set f = m.tool_calls[0].function %}{"name": "{{ f.name }}", "parameters": {{ f.arguments | tojson }}}
{%- else %}{% if tools %}{{ tools | tojson }}{% endif %}{{ m.content }}{% endif %}<|end|>
{%- endfor %}{% if add_generation_prompt %}<assistant>{% endif %})";

TEST(ToolDialect, FindsCallsThatStandInTags) {
  const ToolDialect dialect = dialect_of(kHermes);
  EXPECT_TRUE(dialect.native);
  EXPECT_EQ(dialect.before, "\n<call>\n");
  EXPECT_EQ(dialect.between, "\n</call><call>\n");
  EXPECT_EQ(dialect.after, "\n</call>");
  EXPECT_EQ(dialect.name_key, "name");
  EXPECT_EQ(dialect.arguments_key, "arguments");
}

TEST(ToolDialect, FindsCallsThatStandInAList) {
  const ToolDialect dialect = dialect_of(kList);
  EXPECT_TRUE(dialect.native);
  EXPECT_EQ(dialect.before, "[CALLS] [");
  EXPECT_EQ(dialect.between, ", ");
  EXPECT_EQ(dialect.after, "]");
}

TEST(ToolDialect, FindsASingleBareCall) {
  const ToolDialect dialect = dialect_of(kBare);
  EXPECT_TRUE(dialect.native);
  EXPECT_EQ(dialect.before, "");
  EXPECT_EQ(dialect.between, "");
  EXPECT_EQ(dialect.after, "");
  EXPECT_EQ(dialect.arguments_key, "parameters");
}

TEST(ToolDialect, ATemplateWithoutToolsGetsTheGeneralWay) {
  const ToolDialect dialect = dialect_of("{% for m in messages %}{{ m.role }}: {{ m.content }}{% endfor %}");
  EXPECT_FALSE(dialect.native);
  EXPECT_EQ(dialect.before, "<tool_call>\n");
}

TEST(ToolDialect, WhatATemplateDoesNotKnowIsWrittenOut) {
  json::object variables = json::parse(R"({"messages": [
      {"role": "user", "content": "Dig."},
      {"role": "assistant", "content": null, "tool_calls": [{"id": "1", "type": "function",
        "function": {"name": "dig", "arguments": "{\"depth\": 3}"}}]},
      {"role": "tool", "tool_call_id": "1", "content": "gold"}],
    "tools": [{"type": "function", "function": {"name": "dig"}}]})")
                               .as_object();
  prepare_tools(variables, ToolDialect());
  const json::array& messages = variables.at("messages").get_array();
  ASSERT_EQ(messages.size(), 4u);
  EXPECT_EQ(messages[0].at("role"), "system");
  EXPECT_NE(messages[0].at("content").as_string().find("\"dig\""), std::string::npos);
  EXPECT_EQ(messages[2].at("content"),
            "<tool_call>\n{\"name\":\"dig\",\"arguments\":{\"depth\":3}}\n</tool_call>");
  EXPECT_EQ(messages[3].at("role"), "user");
  EXPECT_EQ(messages[3].at("content"), "<tool_response>\ngold\n</tool_response>");
  EXPECT_FALSE(variables.contains("tools"));
}

TEST(ToolDialect, ANativeTemplateGetsArgumentsAsAnObject) {
  json::object variables = json::parse(R"({"messages": [{"role": "assistant", "content": "", "tool_calls": [
      {"function": {"name": "a", "arguments": "{\"x\": 1}"}}, {"function": {"name": "b", "arguments": "x"}}]}]})")
                               .as_object();
  prepare_tools(variables, {.native = true});
  const json::array& calls = variables.at("messages").at(0).at("tool_calls").get_array();
  EXPECT_EQ(calls[0].at("function").at("arguments"), json::value({{"x", 1}}));
  EXPECT_EQ(calls[1].at("function").at("arguments"), "x");
}

}  // namespace
}  // namespace chorus
