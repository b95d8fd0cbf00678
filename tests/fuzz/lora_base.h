#pragma once

#include "model/golden_test_util.h"

namespace chorus {

// The tiny model that the adapters of the corpora are for.
inline const Model& lora_base() {
  static const Model model = load_golden_model("llama_tied.gguf");
  return model;
}

}  // namespace chorus
