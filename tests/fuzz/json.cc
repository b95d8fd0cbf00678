#include "formats/json.h"

#include "fuzz_target.h"

// What is accepted must be the same after it is written and read again.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  chorus::json::value value;
  try {
    value = chorus::parse_json(chorus::text_of(data, size), "input");
  } catch (const chorus::Error& error) {
    const std::string_view text = error.what();
    chorus::require(text.starts_with("input: line ") && text.find('\n') == text.npos);
    return 0;
  }
  chorus::require(chorus::parse_json(chorus::json::serialize(value), "output") == value);
  return 0;
}
