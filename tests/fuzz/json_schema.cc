#include "formats/json.h"
#include "fuzz_target.h"
#include "grammar/grammar_prune.h"
#include "grammar/sources.h"

// A schema is refused in one line, or has a grammar in which every rule ends: nothing more could be pruned.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  chorus::json::value schema;
  try {
    schema = chorus::parse_json(chorus::text_of(data, size), "input");
  } catch (const chorus::Error&) {
    return 0;
  }
  chorus::Grammar grammar;
  try {
    grammar = chorus::schema_grammar(schema);
  } catch (const chorus::Error& error) {
    const std::string_view text = error.what();
    chorus::require(text.starts_with("json_schema: ") && text.find('\n') == text.npos);
    return 0;
  }
  chorus::Grammar again;
  const auto root = chorus::copy_productive(grammar, grammar.root(), again);
  chorus::require(root && again.rules() == grammar.rules());
  return 0;
}
