#include "engine/text_files.h"

#include <filesystem>

#include "base/mapped_file.h"
#include "formats/gguf.h"
#include "formats/json.h"

namespace chorus {
namespace {

namespace fs = std::filesystem;

TextFiles text_from_gguf(const std::string& path) {
  const GgufFile file = GgufFile::open(path);
  TextFiles text{Tokenizer::from_gguf(file), std::nullopt};
  const std::string source = file.string_or("tokenizer.chat_template", "");
  if (!source.empty()) text.chat_template.emplace(source);
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
  TextFiles text{Tokenizer::from_json(read_json_file(path), config, path), std::nullopt};
  const std::string source = template_source(directory, config);
  if (!source.empty()) text.chat_template.emplace(source);
  return text;
}

}  // namespace

TextFiles load_text_files(const std::string& path) {
  return fs::is_directory(path) ? text_from_directory(path) : text_from_gguf(path);
}

}  // namespace chorus
