#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/file_root.h"
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

// The files of a directory that may hold a chat template.
constexpr std::string_view kTemplateFile = "chat_template.jinja", kTokenizerConfig = "tokenizer_config.json";

// Of a model that is open, without the rest.
std::optional<ChatTemplate> load_chat_template(const TensorSource& source);
// Hex SHA-256 of the template's source; of none, "".
std::string template_hash(const std::optional<ChatTemplate>& chat_template);

// The chat template of a directory: the first of these files, or a field of the second; none: it has neither.
// Error: it does not parse.
std::optional<ChatTemplate> load_chat_template(const FileRoot& root, const std::string& directory);

}  // namespace chorus
