#pragma once

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <string>

#include "fuzz_target.h"
#include "lora_base.h"
#include "model/adapter_io.h"

namespace chorus {

// An adapter's directory whose two files, adapter_config.json and tensors of the given name, are in memory.
class AdapterDirectory {
 public:
  explicit AdapterDirectory(const std::string& tensors) {
    std::string name = (std::filesystem::temp_directory_path() / "chorus_fuzz_XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) fail("{}: cannot be made", name);
    path_ = name;
    std::filesystem::create_symlink(config_.path(), path_ + "/adapter_config.json");
    std::filesystem::create_symlink(tensors_.path(), path_ + "/" + tensors);
  }
  ~AdapterDirectory() { std::filesystem::remove_all(path_); }
  AdapterDirectory(const AdapterDirectory&) = delete;

  // adapter_config.json, a NUL, and the tensors: refused in one line that names the directory, or loaded
  // whole.
  void load(std::string_view text) const {
    const size_t end = std::min(text.find('\0'), text.size());
    config_.write(text.substr(0, end));
    tensors_.write(text.substr(std::min(end + 1, text.size())));
    try {
      require(load_adapter(path_, lora_base().config, &lora_base())->bytes() > 0);
    } catch (const Error& error) {
      const std::string_view what = error.what();
      require(what.starts_with(path_) && what.find('\n') == what.npos);
    }
  }

 private:
  const MemoryFile config_, tensors_;
  std::string path_;
};

}  // namespace chorus
