#pragma once

#include <string>

#include "base/dtype.h"
#include "model/adapter_file.h"
#include "train/lora_parameters.h"

namespace chorus {

// A tensor's name in a PEFT file, "base_model.model.model.layers.3.self_attn.q_proj.lora_A.weight".
std::string peft_name(const LoraLinear& linear, bool is_a);

// The GGUF LoRA file beside the others.
constexpr std::string_view kGgufResult = "adapter.gguf";

struct ResultForm {
  DType elements = DType::kF32;  // of A and B: f32, f16 or bf16; the lengths of DoRA stay f32
  bool gguf = false;             // a GGUF LoRA file too
};

// Writes a PEFT directory: adapter_model.safetensors and then adapter_config.json; with `gguf` that file too.
// Each whole or not at all. `dropout` is a note of how it was tuned. Errors name the file.
void save_adapter(const std::string& directory, const LoraParameters& parameters, const ModelConfig& config,
                  const AdapterBase& base, double dropout, const ResultForm& form);

}  // namespace chorus
