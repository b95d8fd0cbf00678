#pragma once

#include <functional>
#include <string>

#include "grammar/sources.h"
#include "server/openai_fields.h"

namespace chorus {

// What a client wants its answer to look like.
struct OutputShape {
  std::string key;  // names the grammar for the compiler's cache; empty: any text
  std::function<Grammar()> make;
  std::string param;  // the field that asked for it, for errors

  explicit operator bool() const { return !key.empty(); }
};

// Reads "response_format" and its equals by vLLM's and llama-server's names: "structured_outputs": {"json",
// "regex", "choice", "grammar", "json_object"}, "guided_json" and so on, "json_schema", "grammar". ApiError:
// more than one, a wrong type, a grammar of more than kMaxGrammarBytes.
OutputShape read_output_shape(const json::object& body);

}  // namespace chorus
