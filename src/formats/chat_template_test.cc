#include "formats/chat_template.h"

#include <gtest/gtest.h>

#include <fstream>
#include <random>
#include <set>
#include <sstream>
#include <thread>

#include "base/error.h"

namespace chorus {
namespace {

const std::string kFolder = CHORUS_SOURCE_DIR "/tests/golden/templates/";

std::string file_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  EXPECT_TRUE(file) << path;
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

json::object golden(const std::string& name) { return json::parse(file_text(kFolder + name)).as_object(); }

// The text, or nothing where the template is refused; the reason goes to `error`.
std::optional<std::string> attempt(std::string_view source, const json::object& variables, int64_t now,
                                   std::string& error) {
  try {
    return ChatTemplate(source).render(variables, now);
  } catch (const Error& e) {
    error = e.what();
    EXPECT_EQ(error.find('\n'), std::string::npos) << error;
    EXPECT_TRUE(error.starts_with("chat template: ")) << error;
    return std::nullopt;
  }
}

void expect_same(const json::value& expected, std::string_view source, const json::object& variables,
                 int64_t now, const std::string& what) {
  std::string error;
  const auto text = attempt(source, variables, now, error);
  if (expected.is_null())
    EXPECT_FALSE(text) << what << ": jinja2 refuses what gave: " << *text;
  else if (text)
    EXPECT_EQ(*text, std::string_view(expected.as_string())) << what;
  else
    ADD_FAILURE() << what << ": " << error << "; jinja2 gives: " << expected.as_string();
}

std::string error_of(std::string_view source, const json::object& variables = {}) {
  std::string error;
  const auto text = attempt(source, variables, 0, error);
  return text ? "rendered: " + text->substr(0, 200) : error;
}

std::string repeated(std::string_view part, size_t times) {
  std::string out;
  for (size_t i = 0; i < times; ++i) out += part;
  return out;
}

TEST(ChatTemplate, RendersModelsTemplatesAsTransformersDoes) {
  const json::object expected = golden("expected.json");
  size_t rendered = 0;
  std::set<std::string> templates;
  for (const json::value& value : expected.at("cases").as_array()) {
    const json::object& row = value.as_object();
    const std::string name(row.at("template").as_string());
    const auto& conversation = row.at("conversation").as_string();
    json::object variables = expected.at("conversations").at(conversation).as_object();
    variables["add_generation_prompt"] = row.at("generation");
    expect_same(row.at("text"), file_text(kFolder + name), variables, expected.at("now").as_int64(),
                name + " " + std::string(conversation));
    rendered += row.at("text").is_string();
    templates.insert(name);
  }
  EXPECT_GE(templates.size(), 12u);
  EXPECT_GE(rendered, 500u);
}

TEST(ChatTemplate, RendersSnippetsAsJinja2Does) {
  const json::object expected = golden("snippets.json");
  for (const json::value& row : expected.at("cases").as_array()) {
    const std::string source(row.at("template").as_string());
    expect_same(row.at("text"), source, expected.at("variables").as_object(), expected.at("now").as_int64(),
                source);
  }
}

TEST(ChatTemplate, ErrorsNameTheLine) {
  EXPECT_EQ(error_of("a\nb\n{{ raise_exception('no\nway') }}"), "chat template: line 3: no\\x0away");
  EXPECT_EQ(error_of("\n{{ x.y }}"), "chat template: line 2: 'x' is undefined");
  EXPECT_EQ(error_of("\n\n{{ 1 + }}"), "chat template: line 3: unexpected '}}'");
  EXPECT_EQ(error_of("{% include 'a' %}"), "chat template: line 1: the tag 'include' is not supported");
  EXPECT_EQ(error_of("{{ 1 | nope }}"), "chat template: line 1: no filter is named 'nope'");
}

TEST(ChatTemplate, IntegersThatPythonWouldGrowAreErrors) {
  for (const char* source : {"{{ 9223372036854775807 + 1 }}", "{{ 2 ** 63 }}", "{{ 9223372036854775808 }}",
                             "{{ (-9223372036854775807 - 1) // -1 }}", "{{ -(-9223372036854775807 - 1) }}",
                             "{{ 9223372036854775807 * 2 }}", "{{ (-9223372036854775807 - 1) | abs }}",
                             "{{ 1e300 | int }}", "{{ '99999999999999999999' | int }}"})
    EXPECT_NE(error_of(source).find("64 bits"), std::string::npos) << source << ": " << error_of(source);
  EXPECT_EQ(error_of("{{ (-9223372036854775807 - 1) % -1 }}"), "rendered: 0");
}

struct Hostile {
  std::string what, source, reason;
};

std::vector<Hostile> hostile_templates() {
  const std::string range = "{% for a in range(100000) %}";
  return {
      {"macro calls itself", "{% macro x() %}{{ x() }}{% endmacro %}{{ x() }}", "levels deep"},
      {"macros call each other",
       "{% macro a() %}{{ b() }}{% endmacro %}{% macro b() %}{{ a() }}{% endmacro %}{{ a() }}",
       "levels deep"},
      {"caller calls",
       "{% macro m() %}{% call m() %}{% endcall %}{{ caller }}{% endmacro %}{% call m() %}{% endcall %}",
       "levels deep"},
      {"150 parentheses", "{{ " + repeated("(", 150) + "1" + repeated(")", 150) + " }}", "nested too deeply"},
      {"10,000 parentheses", "{{ " + repeated("(", 10'000) + "1" + repeated(")", 10'000) + " }}",
       "nested too deeply"},
      {"10,000 brackets", "{{ " + repeated("[", 10'000) + repeated("]", 10'000) + " }}", "nested too deeply"},
      {"10,000 braces", "{{ " + repeated("{1:", 10'000) + "1" + repeated("}", 10'000) + " }}",
       "nested too deeply"},
      {"10,000 nots", "{{ " + repeated("not ", 10'000) + "1 }}", "nested too deeply"},
      {"10,000 minuses", "{{ " + repeated("-", 10'000) + "1 }}", "nested too deeply"},
      {"10,000 ifs in a row", "{{ 1" + repeated(" if 1", 10'000) + " }}", "nested too deeply"},
      {"10,000 elses in a row", "{{ 1" + repeated(" if 0 else 1", 10'000) + " }}", "nested too deeply"},
      {"10,000 nested tests", "{{ 1" + repeated(" is in x(1", 10'000) + repeated(")", 10'000) + " }}",
       "nested too deeply"},
      {"10,000 targets", "{% for " + repeated("(", 10'000) + "a" + repeated(")", 10'000) + " in b %}",
       "nested too deeply"},
      {"10,000 nested ifs", repeated("{% if 1 %}", 10'000), "nested too deeply"},
      {"nested fors", repeated("{% for a in 'ab' %}", 70) + repeated("{% endfor %}", 70),
       "nested too deeply"},
      {"nested loops over ranges", repeated(range, 3) + "x" + repeated("{% endfor %}", 3), "fuel"},
      {"a long range", "{{ range(1000000000) }}", "elements"},
      {"a long string", "{{ 'a' * 1000000000 }}", "fuel"},
      {"a string too long to count", "{{ 'abc' * 9223372036854775807 }}", "too long"},
      {"a long list", "{{ [1] * 1000000000 }}", "fuel"},
      {"a wide number", "{{ '%999999999d' % 1 }}", "wider"},
      {"a wide center", "{{ 'a' | center(1000000000) }}", "fuel"},
      {"a wide ljust", "{{ 'a'.ljust(1000000000) }}", "fuel"},
      {"a wide indent", "{{ 'a\nb' | indent(1000000000) }}", "fuel"},
      {"a batch with much filling", "{{ [1] | batch(1000000000, 0) }}", "fuel"},
      {"many slices", "{{ [1] | slice(1000000000) }}", "fuel"},
      {"joins that double",
       "{% set n = namespace(s='ab') %}" + range + "{% set n.s = [n.s, n.s] | join(n.s) %}{% endfor %}", ""},
      {"replace that squares",
       "{% set n = namespace(s='aa') %}" + range + "{% set n.s = n.s.replace('a', n.s) %}{% endfor %}", ""},
      {"output without end", "{% set s = 'a' * 1000000 %}" + range + "{{ s }}{% endfor %}", ""},
      {"lists in lists", "{% set n = namespace(l=[]) %}" + range + "{% set n.l = [n.l] %}{% endfor %}",
       "levels deep"},
      {"dicts in dicts", "{% set n = namespace(l={}) %}" + range + "{% set n.l = {'a': n.l} %}{% endfor %}",
       "levels deep"},
      {"methods of methods",
       "{% set n = namespace(l={}) %}" + range + "{% set n.l = {'a': n.l.get} %}{% endfor %}", "levels deep"},
      {"loops in loops",
       "{% set n = namespace(l=1) %}" + range +
           "{% for b in [n.l] %}{% set n.l = loop %}{% endfor %}{% endfor %}",
       "levels deep"},
      {"a namespace in itself", "{% set n = namespace() %}{% set n.n = n %}{{ n }}", "levels deep"},
      {"a namespace in its list", "{% set n = namespace() %}{% set n.n = [n] %}{{ n.n }}", "levels deep"},
      {"tojson of a namespace", "{% set n = namespace() %}{{ n | tojson }}", "JSON"},
      {"recursive loop", "{% set l = [1] %}{% for a in l recursive %}{{ loop(l) }}{% endfor %}",
       "levels deep"},
      {"a loop that has ended",
       "{% set n = namespace() %}{% for a in [1] recursive %}{% set n.l = loop %}"
       "{% endfor %}{{ n.l([1]) }}",
       "ended"},
      {"changed() after the end",
       "{% set n = namespace() %}{% for a in [1] %}{% set n.l = loop %}"
       "{% endfor %}{{ n.l.changed(n.l) }}",
       "ended"},
      {"map of map", "{{ [[[1]]] | map(" + repeated("'map',", 300) + "'abs') }}", ""},
      {"many filters", "{{ ('a' * 100000) " + repeated("| upper | lower", 5'000) + " }}", "fuel"},
      {"a huge integer", "{{ 10 ** 10000000 }}", "64 bits"},
      {"a huge precision", "{{ '%.99999f' % 1.0 }}", "wider"},
      {"a name too far", "{{ ''.__class__.__mro__[1].__subclasses__() }}", "no '__class__'"},
      {"globals of a macro", "{% macro m() %}{% endmacro %}{{ m.__globals__.x }}", "no '__globals__'"},
      {"64 MiB", std::string(64 << 20, 'x'), "bytes"},
  };
}

TEST(ChatTemplate, HostileTemplatesAreErrorsSoon) {
  for (const Hostile& hostile : hostile_templates()) {
    const auto begin = std::chrono::steady_clock::now();
    const std::string error = error_of(hostile.source);
    const auto took = std::chrono::steady_clock::now() - begin;
    EXPECT_TRUE(error.starts_with("chat template: ")) << hostile.what << ": " << error;
    EXPECT_NE(error.find(hostile.reason), std::string::npos) << hostile.what << ": " << error;
    EXPECT_LT(took, std::chrono::seconds(5)) << hostile.what;
  }
}

TEST(ChatTemplate, CyclesDoNotLeak) {  // the leak check of the sanitizer is the judge
  EXPECT_EQ(error_of("{% set n = namespace() %}{% set n.n = [n] %}{% macro m() %}{{ n }}{% endmacro %}"
                     "{% set n.m = m %}{% for a in [1] %}{% set b = loop.changed(loop) %}{% set n.l = loop %}"
                     "{% set n.c = caller %}{% endfor %}ok"),
            "rendered: ok");
}

TEST(ChatTemplate, DeeplyNestedVariablesAreErrors) {
  json::value deep = json::array{};
  for (int i = 0; i < 3000; ++i) deep = json::array{std::move(deep)};
  EXPECT_NE(error_of("{{ x }}", {{"x", std::move(deep)}}).find("levels deep"), std::string::npos);
}

TEST(ChatTemplate, LongConversationsRenderWithinTheFuel) {
  json::array messages;
  for (int i = 0; i < 400; ++i)
    messages.push_back({{"role", i % 2 == 0 ? "user" : "assistant"}, {"content", std::string(1000, 'x')}});
  for (const char* name : {"qwen3.jinja", "smollm2.jinja", "llama3.jinja", "mistral-nemo.jinja"}) {
    const std::string text =
        ChatTemplate(file_text(kFolder + name))
            .render({{"messages", messages}, {"bos_token", "<s>"}, {"eos_token", "</s>"}});
    EXPECT_GT(text.size(), 400'000u) << name;
  }
}

void run_on_small_stack(void* (*body)(void*)) {
  pthread_attr_t attributes;
  ASSERT_EQ(pthread_attr_init(&attributes), 0);
  ASSERT_EQ(pthread_attr_setstacksize(&attributes, size_t{CHORUS_TEST_STACK_KIB} << 10), 0);
  pthread_t thread{};
  ASSERT_EQ(pthread_create(&thread, &attributes, body, nullptr), 0);
  pthread_join(thread, nullptr);
  pthread_attr_destroy(&attributes);
}

// The deepest that the limits allow, and beyond, on a stack of 256 KiB (more with sanitizers).
TEST(ChatTemplate, DepthFitsASmallStack) {
  run_on_small_stack([](void*) -> void* {
    EXPECT_EQ(error_of("{{ " + repeated("(", 60) + "1" + repeated(")", 60) + " }}"), "rendered: 1");
    EXPECT_EQ(error_of("{{ " + repeated("[", 60) + repeated("]", 60) + " == x }}"), "rendered: False");
    EXPECT_NE(error_of("{{ " + repeated("(", 150) + "1" + repeated(")", 150) + " }}").find("too deeply"),
              std::string::npos);
    for (const Hostile& hostile : hostile_templates())
      EXPECT_TRUE(error_of(hostile.source).starts_with("chat template: ")) << hostile.what;
    const std::string nest = repeated("[", 40) + "x()" + repeated("]", 40);
    EXPECT_NE(error_of("{% macro x() %}{{ " + nest + " }}{% endmacro %}{{ x() }}").find("levels deep"),
              std::string::npos);
    return nullptr;
  });
}

TEST(ChatTemplate, ThreadsShareOne) {
  const ChatTemplate chat(file_text(kFolder + "qwen2.5.jinja"));
  const json::object variables = {{"messages", {{{"role", "user"}, {"content", "Hi"}}}}};
  const std::string expected = chat.render(variables);
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      for (int k = 0; k < 50; ++k) EXPECT_EQ(chat.render(variables), expected);
    });
  for (std::thread& thread : threads) thread.join();
}

std::string mutated(std::string source, const std::string& other, std::mt19937& random) {
  const auto below = [&](size_t n) { return std::uniform_int_distribution<size_t>(0, n - 1)(random); };
  for (size_t edits = 1 + below(4); edits-- > 0 && !source.empty();) {
    const size_t at = below(source.size());
    const size_t length = below(40);
    switch (below(4)) {
      case 0:
        source.erase(at, length);
        break;
      case 1:
        source.insert(at, other.substr(below(other.size()), length));
        break;
      case 2:
        source[at] = static_cast<char>(below(256));
        break;
      default:
        source.insert(at, source.substr(at, length));
    }
  }
  return source;
}

TEST(ChatTemplate, MutatedTemplatesNeverCrash) {
  const json::object expected = golden("expected.json");
  std::vector<std::string> sources;
  for (const json::value& row : expected.at("cases").as_array()) {
    std::string source = file_text(kFolder + std::string(row.at("template").as_string()));
    if (sources.empty() || sources.back() != source) sources.push_back(std::move(source));
  }
  const json::object& conversations = expected.at("conversations").as_object();
  std::mt19937 random(20240501);
  size_t rendered = 0;
  for (size_t i = 0; i < 5000; ++i) {
    const std::string source =
        mutated(sources[i % sources.size()], sources[(i * 7 + 3) % sources.size()], random);
    const json::object& variables =
        (conversations.begin() + static_cast<ptrdiff_t>(i % conversations.size()))->value().as_object();
    std::string error;
    rendered += attempt(source, variables, 0, error).has_value();
  }
  EXPECT_GT(rendered, 100u);  // else the mutations test the lexer alone
}

}  // namespace
}  // namespace chorus
