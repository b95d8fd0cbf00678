#include "formats/safetensors.h"
#include "fuzz_target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  chorus::with_file(chorus::text_of(data, size), [](const std::string& path) {
    const auto file = chorus::SafetensorsFile::open(path);
    const auto bytes = file.file().bytes();
    size_t sum = 0;
    for (const chorus::FileTensor& tensor : file.tensors()) {
      chorus::require(tensor.data.data() + tensor.data.size() <= bytes.data() + bytes.size());
      chorus::require(file.find(tensor.name) == &tensor);
      sum += tensor.data.size();
    }
    chorus::require(sum < bytes.size());
  });
  return 0;
}
