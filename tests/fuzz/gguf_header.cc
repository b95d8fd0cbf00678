#include "formats/gguf.h"
#include "fuzz_target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  chorus::with_file(chorus::text_of(data, size), [](const std::string& path) {
    const auto file = chorus::GgufFile::open(path);
    const auto bytes = file.file().bytes();
    for (const chorus::FileTensor& tensor : file.tensors()) {
      chorus::require(tensor.data.data() >= bytes.data());
      chorus::require(tensor.data.data() + tensor.data.size() <= bytes.data() + bytes.size());
      chorus::require(file.find(tensor.name) == &tensor);
    }
    for (const auto& [key, value] : file.metadata()) chorus::require(file.find_value(key) == &value);
    file.integer_or("i", 0, 0, 100);
    file.number_or("f", 0);
    file.strings("tokens");
  });
  return 0;
}
