#pragma once

// What tests/golden/make_tokenizer.py wrote, for the tests.

#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "formats/json.h"
#include "formats/tokenizer.h"

namespace chorus {

inline std::string golden_path(const std::string& name) {
  return std::string(CHORUS_SOURCE_DIR) + "/tests/golden/tokenizer/" + name;
}

inline json::value read_golden(const std::string& name) {
  std::ifstream in(golden_path(name), std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return json::parse(text.str());
}

inline Tokenizer load_golden(const std::string& style) {
  return Tokenizer::from_json(read_golden(style + ".json"), read_golden(style + ".config.json"),
                              style + ".json");
}

std::vector<std::string> golden_strings();

// Compares a tokenizer with STYLE.ids.json over strings.json: ids, ids without special tokens, decoded text,
// ids with add_special. Returns a line for each difference, at most ten.
std::vector<std::string> golden_differences(const Tokenizer& tokenizer, const std::string& style,
                                            bool check_special = true);

}  // namespace chorus
