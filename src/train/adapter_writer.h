#pragma once

#include <string>

#include "formats/json.h"
#include "model/adapter_file.h"
#include "train/lora_parameters.h"

namespace chorus {

// A tensor's name in a PEFT file, "base_model.model.model.layers.3.self_attn.q_proj.lora_A.weight".
std::string peft_name(const LoraLinear& linear, bool is_a);

// What an adapter was tuned on; written beside its tensors, since PEFT's configuration has no field for it.
struct AdapterOrigin {
  std::string base_name;      // for people: base_model_name_or_path
  std::string base;           // Model::id
  std::string chat_template;  // hash of its source; empty: none
  double dropout = 0;
};

// Writes a PEFT directory: adapter_model.safetensors, in f32, and then adapter_config.json, each whole or not
// at all. Errors name the file.
void save_peft(const std::string& directory, const LoraParameters& parameters, const AdapterOrigin& origin);

// Fills the parameters from tensors by these names. Error, beginning with `what`: one is missing, or not f32
// of the right shape.
void read_values(LoraParameters& parameters, const SafetensorsFile& file, std::string_view what);

}  // namespace chorus
