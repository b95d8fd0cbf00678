#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "model/config.h"

namespace chorus {

// The linears a LoRA can adapt. kHead is outside the layers.
enum class Target : uint8_t { kQ, kK, kV, kO, kGate, kUp, kDown, kHead };
constexpr int kLayerTargets = 7;

// Linears that read the same input, which one op multiplies together.
enum class InputGroup : uint8_t { kQkv, kO, kGateUp, kDown, kHead };
constexpr int kLayerGroups = 4;

// Where a linear stands: its group, and its place in it.
struct GroupPlace {
  InputGroup group;
  size_t index;
};
constexpr GroupPlace group_place(Target target) {
  constexpr std::array<GroupPlace, 8> kPlaces = {{{InputGroup::kQkv, 0},
                                                  {InputGroup::kQkv, 1},
                                                  {InputGroup::kQkv, 2},
                                                  {InputGroup::kO, 0},
                                                  {InputGroup::kGateUp, 0},
                                                  {InputGroup::kGateUp, 1},
                                                  {InputGroup::kDown, 0},
                                                  {InputGroup::kHead, 0}}};
  return kPlaces[static_cast<size_t>(target)];
}

struct TargetInfo {
  std::string_view hf_name;    // last part of the module's name in Hugging Face form: "q_proj"
  std::string_view hf_module;  // "self_attn.q_proj", within model.layers.N
  std::string_view gguf_name;  // "attn_q", within blk.N
};

constexpr TargetInfo target_info(Target target) {
  constexpr std::array<TargetInfo, 8> kInfo = {{{"q_proj", "self_attn.q_proj", "attn_q"},
                                                {"k_proj", "self_attn.k_proj", "attn_k"},
                                                {"v_proj", "self_attn.v_proj", "attn_v"},
                                                {"o_proj", "self_attn.o_proj", "attn_output"},
                                                {"gate_proj", "mlp.gate_proj", "ffn_gate"},
                                                {"up_proj", "mlp.up_proj", "ffn_up"},
                                                {"down_proj", "mlp.down_proj", "ffn_down"},
                                                {"lm_head", "lm_head", "output"}}};
  return kInfo[static_cast<size_t>(target)];
}

struct LinearShape {
  int out, in;
};

constexpr LinearShape target_shape(const ModelConfig& config, Target target) {
  switch (target) {
    case Target::kQ:
      return {config.q_width(), config.hidden};
    case Target::kK:
    case Target::kV:
      return {config.kv_width(), config.hidden};
    case Target::kO:
      return {config.hidden, config.q_width()};
    case Target::kGate:
    case Target::kUp:
      return {config.ffn, config.hidden};
    case Target::kDown:
      return {config.hidden, config.ffn};
    case Target::kHead:
      return {config.vocab, config.hidden};
  }
  return {0, 0};
}

}  // namespace chorus
