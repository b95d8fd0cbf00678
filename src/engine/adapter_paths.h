#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file_root.h"

namespace chorus {

// An adapter in a directory, by its file's or folder's name.
struct AdapterPlace {
  std::string name, path;
};

// The adapters in a directory: its folders with an adapter_config.json and its *.gguf files, by their names
// and in their order; of two with one name, the folder. What begins with '.' is none. Errors: the directory
// cannot be read, or holds more than 16,384 names.
std::vector<AdapterPlace> find_adapters(const FileRoot& root);

// What tells an adapter's files from what they were before: each file that a load may read, with its stamp.
// Empty: nothing is there.
using AdapterStamps = std::vector<std::pair<std::string, FileStamp>>;
AdapterStamps adapter_stamps(const FileRoot& root, const std::string& path);
// When the last of the files was changed, in ns since 1970; 0: no files.
int64_t last_change(const AdapterStamps& stamps);

// How an absolute path to a directory may begin: as it was given, and without its links.
std::vector<std::string> directory_prefixes(const std::string& directory);
// A path that a client gives, relative to the directory with these prefixes. None: it is empty, or leads
// elsewhere by itself or by "..".
std::optional<std::string> path_beneath(std::string_view path, const std::vector<std::string>& prefixes);

}  // namespace chorus
