#include "adapter_directory.h"

// A PEFT directory.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const chorus::AdapterDirectory directory("adapter_model.safetensors");
  directory.load(chorus::text_of(data, size));
  return 0;
}
