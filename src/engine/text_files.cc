#include "engine/text_files.h"

#include <filesystem>

#include "base/error.h"
#include "base/mapped_file.h"
#include "base/sha256.h"
#include "formats/gguf.h"
#include "formats/json.h"

namespace chorus {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMaxTemplateBytes = size_t{1} << 20, kMaxConfigBytes = size_t{64} << 20;

// An empty source is none.
std::optional<ChatTemplate> parse_template(const std::string& source, std::string_view where) {
  if (source.empty()) return std::nullopt;
  try {
    return ChatTemplate(source);
  } catch (const Error& error) {
    fail("{}: {}", where, error.what());
  }
}

std::optional<ChatTemplate> template_of(const GgufFile& file) {
  constexpr std::string_view kTemplate = "tokenizer.chat_template";
  if (file.find_value(kTemplate) == nullptr) return std::nullopt;
  return parse_template(file.string(kTemplate), file.path());
}

TextFiles text_from_gguf(const GgufFile& file) { return {Tokenizer::from_gguf(file), template_of(file)}; }

std::string string_field(const json::value& value, std::string_view name) {
  const json::value* field = value.is_object() ? value.get_object().if_contains(name) : nullptr;
  return field != nullptr && field->is_string() ? std::string(field->get_string()) : std::string();
}

// chat_template.jinja beside the model, or the field of tokenizer_config.json: a text, or a list of named
// ones.
std::string template_source(const FileRoot& root, const std::string& directory, const json::value& config) {
  const std::string path = fmt::format("{}/{}", directory, kTemplateFile);
  if (root.look(path)) return root.open(path).read_all(kMaxTemplateBytes);
  const json::value* field = config.is_object() ? config.get_object().if_contains("chat_template") : nullptr;
  if (field == nullptr || !field->is_array()) return string_field(config, "chat_template");
  for (const json::value& named : field->get_array()) {
    if (string_field(named, "name") == "default") return string_field(named, "template");
  }
  return {};
}

json::value tokenizer_config(const FileRoot& root, const std::string& directory) {
  const std::string path = fmt::format("{}/{}", directory, kTokenizerConfig);
  return root.look(path) ? parse_json(root.open(path).read_all(kMaxConfigBytes), path) : json::value();
}

TextFiles text_from_directory(const std::string& directory) {
  const FileRoot root;
  const json::value config = tokenizer_config(root, directory);
  const std::string path = directory + "/tokenizer.json";
  return {Tokenizer::from_json(read_json_file(path), config, path),
          parse_template(template_source(root, directory, config), directory)};
}

}  // namespace

TextFiles load_text_files(const std::string& path) {
  return fs::is_directory(path) ? text_from_directory(path) : text_from_gguf(GgufFile::open(path));
}

TextFiles load_text_files(const TensorSource& source) {
  return source.gguf() != nullptr ? text_from_gguf(*source.gguf()) : text_from_directory(source.path());
}

std::optional<ChatTemplate> load_chat_template(const FileRoot& root, const std::string& directory) {
  return parse_template(template_source(root, directory, tokenizer_config(root, directory)), directory);
}

std::optional<ChatTemplate> load_chat_template(const TensorSource& source) {
  return source.gguf() != nullptr ? template_of(*source.gguf())
                                  : load_chat_template(FileRoot(), source.path());
}

std::string template_hash(const std::optional<ChatTemplate>& chat_template) {
  if (!chat_template) return "";
  Sha256 hash;
  hash.add(chat_template->source());
  return to_hex(hash.finish());
}

}  // namespace chorus
