#include "formats/gguf.h"
#include "formats/quant_blocks.h"
#include "fuzz_target.h"

// Every tensor to floats, and where those are finite, back.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  chorus::with_file(chorus::text_of(data, size), [](const std::string& path) {
    const auto file = chorus::GgufFile::open(path);
    for (const chorus::FileTensor& tensor : file.tensors()) {
      const chorus::DTypeInfo info = chorus::dtype_info(tensor.type);
      std::vector<float> values(tensor.data.size() / info.block_bytes * info.block_elements);
      std::vector<std::byte> again(tensor.data.size());
      chorus::dequantize(tensor.type, tensor.data, values);
      try {
        chorus::quantize(tensor.type, values, again);
      } catch (const chorus::Error&) {  // a NaN or infinite scale in the file
      }
    }
  });
  return 0;
}
