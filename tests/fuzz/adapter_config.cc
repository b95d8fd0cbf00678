#include <sys/stat.h>

#include <filesystem>

#include "fuzz_target.h"
#include "lora_base.h"
#include "model/adapter_io.h"

namespace chorus {
namespace {

// A PEFT directory whose two files are in memory.
class PeftDirectory {
 public:
  PeftDirectory() {
    std::string name = (std::filesystem::temp_directory_path() / "chorus_fuzz_XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) fail("{}: cannot be made", name);
    path_ = name;
    std::filesystem::create_symlink(config_.path(), path_ + "/adapter_config.json");
    std::filesystem::create_symlink(tensors_.path(), path_ + "/adapter_model.safetensors");
  }
  ~PeftDirectory() { std::filesystem::remove_all(path_); }
  PeftDirectory(const PeftDirectory&) = delete;
  const std::string& path() const { return path_; }
  void write(std::string_view config, std::string_view tensors) const {
    config_.write(config);
    tensors_.write(tensors);
  }

 private:
  const MemoryFile config_, tensors_;
  std::string path_;
};

}  // namespace
}  // namespace chorus

// adapter_config.json, a NUL, and adapter_model.safetensors: refused in one line that names the directory, or
// loaded whole.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace chorus;
  static const PeftDirectory directory;
  const std::string_view text = text_of(data, size);
  const size_t end = std::min(text.find('\0'), text.size());
  directory.write(text.substr(0, end), text.substr(std::min(end + 1, text.size())));
  try {
    require(load_adapter(directory.path(), lora_base().config)->bytes() > 0);
  } catch (const Error& error) {
    const std::string_view what = error.what();
    require(what.starts_with(directory.path()) && what.find('\n') == what.npos);
  }
  return 0;
}
