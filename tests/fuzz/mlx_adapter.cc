#include "adapter_directory.h"

// An MLX directory.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const chorus::AdapterDirectory directory("adapters.safetensors");
  directory.load(chorus::text_of(data, size));
  return 0;
}
