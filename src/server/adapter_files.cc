#include "server/adapter_files.h"

#include <algorithm>
#include <array>
#include <utility>

#include "engine/text_files.h"
#include "http/http_text.h"
#include "server/api_error.h"

namespace chorus {
namespace {

// Of PEFT and MLX; the last two make an adapter's chat template.
constexpr std::string_view kConfig = "adapter_config.json";
constexpr std::array<std::string_view, 2> kTensors{"adapter_model.safetensors", "adapters.safetensors"};
constexpr std::array<std::string_view, 5> kWanted{kConfig, kTensors[0], kTensors[1], kTemplateFile,
                                                  kTokenizerConfig};

// What stands behind the last slash of either kind.
std::string last_part(const std::string& filename) {
  if (has_dot_segment(filename) || std::ranges::any_of(filename, is_control))
    refuse("file", "{} is no file's name", printable(filename));
  std::string name = filename.substr(filename.find_last_of("/\\") + 1);
  if (name.empty()) refuse("file", "a file has no name");
  return name;
}

bool is_among(const AdapterFiles& files, std::string_view name) {
  return std::ranges::find(files.kept, name, &FormPart::filename) != files.kept.end();
}

void check_whole(const AdapterFiles& files) {
  const auto gguf = [](const FormPart& part) { return part.filename.ends_with(".gguf"); };
  if (std::ranges::any_of(files.kept, gguf)) {
    if (files.kept.size() > 1) refuse("file", "a GGUF adapter is one file; {} were sent", files.kept.size());
    return;
  }
  if (!is_among(files, kConfig)) refuse("file", "{} is missing", kConfig);
  const auto tensors = std::ranges::count_if(kTensors, [&](auto name) { return is_among(files, name); });
  if (tensors != 1) refuse("file", "{} (PEFT) or {} (MLX) must be among the files", kTensors[0], kTensors[1]);
}

}  // namespace

AdapterFiles read_adapter_files(const std::vector<FormPart>& parts) {
  AdapterFiles files;
  for (const FormPart& part : parts) {
    if (part.name != "file") refuse(printable(part.name), "unknown field: {}", printable(part.name));
    FormPart file = part;
    file.filename = last_part(part.filename);
    const bool gguf = file.filename.ends_with(".gguf");
    if (!gguf && std::ranges::find(kWanted, file.filename) == kWanted.end()) {
      files.ignored.push_back(printable(file.filename));
      continue;
    }
    if (is_among(files, file.filename)) refuse("file", "{} was sent twice", printable(file.filename));
    files.kept.push_back(std::move(file));
  }
  check_whole(files);
  files.gguf = files.kept.front().filename.ends_with(".gguf");
  return files;
}

}  // namespace chorus
