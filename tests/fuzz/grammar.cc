#include <memory>

#include "formats/json.h"
#include "fuzz_target.h"
#include "grammar/constraint.h"
#include "grammar/sources.h"

namespace {

// Single bytes and a few words: enough for every way through a grammar.
chorus::Tokenizer small_tokenizer() {
  chorus::json::object vocab;
  int64_t next = 0;
  const auto add = [&](const std::string& text) { vocab[text] = next++; };
  for (int i = 0; i < 256; ++i) add(fmt::format("<0x{:02X}>", i));
  for (const char* word : {"ab", "abc", "\"a", "\":", "true", "aaaa", "é", "😀x", "<unk>", "</s>"}) add(word);
  const auto special = [&](const char* text) {
    return chorus::json::object{{"id", vocab[text]}, {"content", text}, {"special", true}};
  };
  chorus::json::array added = {special("<unk>"), special("</s>")};
  const chorus::json::object model = {{"type", "BPE"},        {"byte_fallback", true},
                                      {"unk_token", "<unk>"}, {"fuse_unk", true},
                                      {"vocab", vocab},       {"merges", chorus::json::array()}};
  const chorus::json::object decoder = {{"type", "Sequence"},
                                        {"decoders", {{{"type", "ByteFallback"}}, {{"type", "Fuse"}}}}};
  return chorus::Tokenizer::from_json({{"added_tokens", added}, {"model", model}, {"decoder", decoder}},
                                      {{"eos_token", "</s>"}}, "small");
}

}  // namespace

// The first byte says what the rest is: an odd one a regular expression, an even one GBNF. Its other bits
// choose the tokens of some steps. Every state has a token or a stop id, and no answer waits for ever.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const chorus::Tokenizer tokenizer = small_tokenizer();
  static chorus::ConstraintCompiler compiler(tokenizer, tokenizer.stop_ids(), [] {},
                                             {.compile_time = std::chrono::seconds(1), .cache_bytes = 1});
  if (size == 0) return 0;
  const std::string text(chorus::text_of(data + 1, size - 1));
  try {
    chorus::ConstraintState state(compiler.compile(std::to_string(data[0] & 1) + text, [&] {
      return (data[0] & 1) != 0 ? chorus::parse_regex(text) : chorus::parse_gbnf(text);
    }));
    uint64_t random = data[0];
    for (int step = 0; step < 24; ++step) {
      while (!state.ready()) continue;
      if (state.failed()) break;
      random = random * 6364136223846793005u + 1442695040888963407u;
      const int32_t vocab = tokenizer.vocab_size(),
                    from = static_cast<int32_t>((random >> 33) % static_cast<uint64_t>(vocab));
      int32_t token = -1;
      for (int32_t i = 0; i < vocab && token < 0; ++i) {
        const int32_t id = (from + i) % vocab;
        if ((state.mask()[static_cast<size_t>(id) / 64] >> (id % 64) & 1) != 0) token = id;
      }
      chorus::require(token >= 0);
      if (state.is_stop(token)) break;
      chorus::require(!tokenizer.is_special(token) && !state.must_end());
      state.advance(token);
    }
  } catch (const chorus::Error& error) {
    chorus::require(std::string_view(error.what()).find('\n') == std::string_view::npos);
  }
  return 0;
}
