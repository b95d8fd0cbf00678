#include "fuzz_target.h"
#include "lora_base.h"
#include "model/adapter_io.h"

// A GGUF LoRA file, and if it loads, a step under it beside one of the base, which must not notice.
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace chorus;
  static const std::vector<int32_t> tokens = {3, 1, 4, 1, 5};
  static const Kernels& kernels = *available_kernels().front();
  static const std::vector<float> base = run_sequence(lora_base(), kernels, {tokens, {}}, {.threads = 1});
  with_file(text_of(data, size), [](const std::string& path) {
    const AdapterHandle adapter = load_adapter(path, lora_base().config);
    const std::vector<TestSequence> sequences = {{tokens, {}}, {tokens, {{adapter.get(), 1}}}};
    require(run_sequences(lora_base(), kernels, sequences, {.threads = 1})[0] == base);
  });
  return 0;
}
