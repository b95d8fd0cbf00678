#include "engine/text_files.h"

#include <filesystem>

#include "base/error.h"
#include "base/mapped_file.h"
#include "formats/gguf.h"
#include "formats/json.h"

namespace chorus {
namespace {

namespace fs = std::filesystem;

// An empty source is none.
std::optional<ChatTemplate> parse_template(const std::string& source, std::string_view where) {
  if (source.empty()) return std::nullopt;
  try {
    return ChatTemplate(source);
  } catch (const Error& error) {
    fail("{}: {}", where, error.what());
  }
}

TextFiles text_from_gguf(const GgufFile& file) {
  constexpr std::string_view kTemplate = "tokenizer.chat_template";
  TextFiles text{Tokenizer::from_gguf(file), std::nullopt};
  if (file.find_value(kTemplate) != nullptr)
    text.chat_template = parse_template(file.string(kTemplate), file.path());
  return text;
}

// chat_template.jinja beside the model, or the field of tokenizer_config.json.
std::string template_source(const std::string& directory, const json::value& config) {
  const std::string path = directory + "/chat_template.jinja";
  if (fs::exists(path)) return read_file(path, size_t{1} << 20);
  if (!config.is_object()) return {};
  const json::value* field = config.get_object().if_contains("chat_template");
  return field != nullptr && field->is_string() ? std::string(field->get_string()) : std::string();
}

TextFiles text_from_directory(const std::string& directory) {
  const std::string config_path = directory + "/tokenizer_config.json";
  const json::value config = fs::exists(config_path) ? read_json_file(config_path) : json::value();
  const std::string path = directory + "/tokenizer.json";
  return {Tokenizer::from_json(read_json_file(path), config, path),
          parse_template(template_source(directory, config), directory)};
}

}  // namespace

TextFiles load_text_files(const std::string& path) {
  return fs::is_directory(path) ? text_from_directory(path) : text_from_gguf(GgufFile::open(path));
}

TextFiles load_text_files(const TensorSource& source) {
  return source.gguf() != nullptr ? text_from_gguf(*source.gguf()) : text_from_directory(source.path());
}

}  // namespace chorus
