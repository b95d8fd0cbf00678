#pragma once

#include <optional>
#include <string>

#include "formats/chat_template.h"
#include "formats/tokenizer.h"
#include "model/tensor_source.h"

namespace chorus {

// What a model's files hold besides weights.
struct TextFiles {
  Tokenizer tokenizer;
  std::optional<ChatTemplate> chat_template;
};

// From a GGUF file, or from a Hugging Face directory (tokenizer.json, tokenizer_config.json,
// chat_template.jinja).
TextFiles load_text_files(const std::string& path);
// Of a model that is open already: a GGUF header is not read twice.
TextFiles load_text_files(const TensorSource& source);

}  // namespace chorus
