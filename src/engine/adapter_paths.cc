#include "engine/adapter_paths.h"

#include <algorithm>
#include <array>
#include <filesystem>

#include "base/error.h"
#include "engine/text_files.h"
#include "model/adapter_file.h"

namespace chorus {
namespace {

constexpr size_t kMaxNames = 16'384, kMaxPath = 4096;
constexpr std::string_view kGgufEnd = ".gguf";
constexpr std::array kFiles = {kPeftConfig, kPeftTensors,  kPeftPickle,
                               kMlxTensors, kTemplateFile, kTokenizerConfig};

// Without "." and doubled or trailing slashes. None: "..", or nothing left.
std::optional<std::string> plain_path(std::string_view path) {
  std::string plain;
  while (!path.empty()) {
    const size_t slash = path.find('/');
    const std::string_view part = path.substr(0, slash);
    path.remove_prefix(slash == std::string_view::npos ? path.size() : slash + 1);
    if (part == "..") return std::nullopt;
    if (part.empty() || part == ".") continue;
    if (!plain.empty()) plain += '/';
    plain += part;
  }
  if (plain.empty()) return std::nullopt;
  return plain;
}

}  // namespace

std::vector<AdapterPlace> find_adapters(const FileRoot& root) {
  std::optional<std::vector<std::string>> names = root.names(kMaxNames);
  if (!names) fail("the directory holds more than {} names", kMaxNames);
  std::ranges::sort(*names);
  std::vector<AdapterPlace> folders, files;
  for (const std::string& name : *names) {
    if (name.front() == '.') continue;
    if (root.look(fmt::format("{}/{}", name, kPeftConfig))) {
      folders.push_back({name, name});
    } else if (!root.look(name)) {  // a link that leads nowhere, or out: to be told when it is loaded
      files.push_back(
          {name.ends_with(kGgufEnd) ? name.substr(0, name.size() - kGgufEnd.size()) : name, name});
    } else if (name.ends_with(kGgufEnd)) {
      files.push_back({name.substr(0, name.size() - kGgufEnd.size()), name});
    }
  }
  for (AdapterPlace& file : files) {
    const bool taken = std::ranges::binary_search(*names, file.name) &&
                       std::ranges::find(folders, file.name, &AdapterPlace::name) != folders.end();
    if (!taken) folders.push_back(std::move(file));
  }
  std::ranges::sort(folders, {}, &AdapterPlace::name);
  return folders;
}

AdapterStamps adapter_stamps(const FileRoot& root, const std::string& path) {
  AdapterStamps stamps;
  const std::optional<struct stat> top = root.look(path);
  if (!top) return stamps;
  if (!S_ISDIR(top->st_mode)) {
    stamps.emplace_back(path, stamp_of(*top));
    return stamps;
  }
  for (const std::string_view name : kFiles) {
    std::string file = fmt::format("{}/{}", path, name);
    if (const std::optional<struct stat> info = root.look(file))
      stamps.emplace_back(std::move(file), stamp_of(*info));
  }
  return stamps;
}

int64_t last_change(const AdapterStamps& stamps) {
  int64_t last = 0;
  for (const auto& [file, stamp] : stamps) last = std::max({last, stamp.changed_ns, stamp.modified_ns});
  return last;
}

std::vector<std::string> directory_prefixes(const std::string& directory) {
  namespace fs = std::filesystem;
  std::vector<std::string> prefixes;
  std::error_code error;
  for (const fs::path& path : {fs::absolute(directory, error), fs::weakly_canonical(directory, error)}) {
    if (const std::optional<std::string> plain = plain_path(path.lexically_normal().string()))
      prefixes.push_back(*plain + "/");
  }
  return prefixes;
}

std::optional<std::string> path_beneath(std::string_view path, const std::vector<std::string>& prefixes) {
  if (path.size() > kMaxPath || path.find('\0') != std::string_view::npos) return std::nullopt;
  const std::optional<std::string> plain = plain_path(path);
  if (!plain || path.front() != '/') return plain;
  for (const std::string& prefix : prefixes) {
    if (plain->starts_with(prefix)) return plain->substr(prefix.size());
  }
  return std::nullopt;
}

}  // namespace chorus
