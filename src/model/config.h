#pragma once

#include <string>
#include <vector>

#include "formats/json.h"
#include "kernels/kernels.h"

namespace chorus {

class GgufFile;

// Rotary embedding: angle = position * inv_freq[i], cos and sin times attention_factor.
struct RopeConfig {
  std::vector<float> inv_freq;  // [head_dim / 2], every scaling already in it
  float attention_factor = 1;
};

struct LayerConfig {
  int window = 0;  // positions a row sees, itself included; 0: all
  int rope = 0;    // index into ModelConfig::ropes
};

// A decoder-only transformer as data. Every supported architecture is a filling of this struct; no code asks
// for an architecture's name after loading.
struct ModelConfig {
  std::string architecture;  // by its GGUF name: "llama", "qwen3", "gemma3"
  std::string name;          // for people
  int hidden = 0, heads = 0, kv_heads = 0, head_dim = 0, ffn = 0, vocab = 0;
  int context_length = 0;
  float norm_eps = 0;
  Activation activation = Activation::kSilu;
  bool qk_norm = false;        // RMS norm of each q and k head before rope
  bool post_norms = false;     // RMS norm of what attention and MLP give, before it is added (Gemma)
  bool norm_plus_one = false;  // the file's norm weights are stored less 1 (Gemma in Hugging Face form)
  bool tied_head = false;      // the head is the embedding matrix
  bool permuted_qk = false;    // the file's q and k rows are in GGUF-Llama's interleaved rope order
  float embedding_scale = 1;
  float attention_scale = 0;
  float attention_soft_cap = 0, final_soft_cap = 0;  // 0: none
  std::vector<RopeConfig> ropes;
  std::vector<LayerConfig> layers;

  int q_width() const { return heads * head_dim; }
  int kv_width() const { return kv_heads * head_dim; }
};

// From GGUF metadata. Errors name file and key; an unknown general.architecture lists the known ones.
ModelConfig config_from_gguf(const GgufFile& file);

// From a Hugging Face config.json (`what` names it in errors). Likewise with "model_type" / "architectures".
ModelConfig config_from_json(const json::object& config, std::string_view what);

// Checks what both forms share: ranges, divisibility. Error names `what` and the field.
void validate(const ModelConfig& config, std::string_view what);

}  // namespace chorus
