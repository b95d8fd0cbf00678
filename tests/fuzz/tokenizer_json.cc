#include "formats/json.h"
#include "formats/tokenizer.h"
#include "formats/unicode.h"
#include "fuzz_target.h"

// A tokenizer.json, used on a sample and on its own text: ids are in the vocabulary and decode the same at
// once and streamed.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace chorus;
  const std::string_view input = text_of(data, size);
  try {
    const Tokenizer tokenizer = Tokenizer::from_json(parse_json(input, "input"), nullptr, "input");
    for (const std::string_view text :
         {std::string_view("ab <s>12\n\xE4\xB8\xAD\xFF  'll"), input.substr(0, 2048)}) {
      const std::vector<int32_t> ids = tokenizer.encode(text, {.add_special = true});
      StreamDecoder stream(tokenizer);
      std::string streamed;
      for (const int32_t id : ids) {
        require(id >= 0 && id < tokenizer.vocab_size());
        streamed += stream.push(id);
      }
      streamed += stream.finish();
      require(streamed == to_valid_utf8(tokenizer.decode(ids)));
      tokenizer.encode(text, {.parse_special = false});
    }
  } catch (const Error& error) {
    const std::string_view text = error.what();
    require(text.find('\n') == text.npos);
  }
  return 0;
}
