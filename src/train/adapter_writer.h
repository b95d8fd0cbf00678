#pragma once

#include <string>

#include "model/adapter_file.h"
#include "train/lora_parameters.h"

namespace chorus {

// A tensor's name in a PEFT file, "base_model.model.model.layers.3.self_attn.q_proj.lora_A.weight".
std::string peft_name(const LoraLinear& linear, bool is_a);

// The GGUF LoRA file beside the others.
constexpr std::string_view kGgufResult = "adapter.gguf";

// Writes a PEFT directory: adapter_model.safetensors, in f32, and then adapter_config.json; and with `gguf`
// that file too. Each whole or not at all. Errors name the file.
void save_adapter(const std::string& directory, const LoraParameters& parameters, const ModelConfig& config,
                  const AdapterBase& base, double dropout, bool gguf);

}  // namespace chorus
