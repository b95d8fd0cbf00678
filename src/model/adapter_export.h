#pragma once

#include <string>

#include "model/adapter_file.h"
#include "model/config.h"

namespace chorus {

enum class AdapterFormat : uint8_t { kPeft, kGguf };

// Write an adapter of `config`, as it was read or put together, in another format: every pair with the scale
// that it has, elements in their own type. Each file is written whole or not at all. Errors name the file.

// A PEFT directory, which is made; the tensors before the configuration. Ranks and scales that differ become
// rank_pattern and alpha_pattern. `dropout` is a note of how it was tuned.
void write_peft_adapter(const std::string& directory, const AdapterFile& adapter, const ModelConfig& config,
                        double dropout = 0);

// Error: the adapter is on the head of a base whose head is its embedding, which has no name in GGUF.
void require_gguf_names(const AdapterFile& adapter, const ModelConfig& config);

// A GGUF LoRA file as llama.cpp reads it. It has one alpha: the most frequent; the B of pairs that have
// another are multiplied by the difference, and become f32. Error: see require_gguf_names().
void write_gguf_adapter(const std::string& path, const AdapterFile& adapter, const ModelConfig& config);

}  // namespace chorus
