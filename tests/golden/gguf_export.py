"""Writes tiny Hugging Face models and PEFT adapters as GGUF, in the conventions of llama.cpp's converters.

What differs from the Hugging Face form:
- names: "model.layers.3.self_attn.q_proj" is "blk.3.attn_q", and so on;
- Llama's q and k rows are reordered, head by head, from [first half, second half] to interleaved pairs, and
  so are the rows of a LoRA's B of those linears;
- Llama 3's rope scaling is a tensor of divisors, rope_freqs.weight;
- Gemma's norm weights carry the 1 that its norm adds;
- vectors are F32 whatever the type of the matrices.
"""

import math

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Type

ARCHITECTURES = {"llama": "llama", "qwen3": "qwen3", "gemma3_text": "gemma3"}

LAYER_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
# Gemma has a norm on either side of attention and of the MLP.
GEMMA_NAMES = {
    "post_attention_layernorm": "post_attention_norm",
    "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}
TOP_NAMES = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def gguf_name(module, model_type):
    """'model.layers.3.self_attn.q_proj' -> 'blk.3.attn_q'."""
    if module in TOP_NAMES:
        return TOP_NAMES[module]
    _, _, layer, part = module.split(".", 3)
    names = LAYER_NAMES | GEMMA_NAMES if model_type == "gemma3_text" else LAYER_NAMES
    return f"blk.{layer}.{names[part]}"


def interleave_heads(rows, heads):
    """Rows of q or k: each head's [first half, second half] -> [pair 0, pair 1, ...]."""
    half = rows.shape[0] // heads // 2
    return rows.reshape(heads, 2, half, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def permuted(module, tensor, config):
    """A q or k matrix of a Llama (encoded by rows) or a LoRA's B, in GGUF's row order; others as they are."""
    if config.model_type != "llama":
        return tensor
    if module.endswith("q_proj"):
        return interleave_heads(tensor, config.num_attention_heads)
    if module.endswith("k_proj"):
        return interleave_heads(tensor, config.num_key_value_heads)
    return tensor


def rope_divisors(config, rope):
    """Llama 3's scaling, one divisor a frequency."""
    dim = config.head_dim
    original, factor = rope["original_max_position_embeddings"], rope["factor"]
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    divisors = []
    for freq in 1.0 / (rope["rope_theta"] ** (torch.arange(0, dim, 2, dtype=torch.float32) / dim)):
        wavelength = 2 * math.pi / freq.item()
        if wavelength < original / high:
            divisors.append(1.0)
        elif wavelength > original / low:
            divisors.append(factor)
        else:
            smooth = (original / wavelength - low) / (high - low)
            divisors.append(1 / ((1 - smooth) / factor + smooth))
    return torch.tensor(divisors, dtype=torch.float32)


def write_metadata(writer, config):
    rope = config.rope_parameters
    full = rope.get("full_attention", rope)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_key_length(config.head_dim)
    writer.add_value_length(config.head_dim)
    writer.add_vocab_size(config.vocab_size)
    writer.add_rope_freq_base(full["rope_theta"])
    if full["rope_type"] == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(full["factor"])
    if config.model_type == "llama":
        writer.add_rope_dimension_count(config.head_dim)
    if config.model_type == "gemma3_text":
        writer.add_rope_freq_base_swa(rope["sliding_attention"]["rope_theta"])
        writer.add_sliding_window(config.sliding_window)
    writer.add_string("tokenizer.ggml.model", "none")


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def encode(weights, kind):
    """{Hugging Face name: f32 tensor} -> {name: (type, array of its elements or bytes)}; vectors stay F32."""
    out = {}
    for name, tensor in weights.items():
        of = Type.F32 if tensor.ndim == 1 else kind
        out[name] = (of, gguf.quants.quantize(np.ascontiguousarray(tensor.numpy()), of))
    return out


def decode(encoded):
    """The f32 tensors that a reader of the encoded ones gets."""
    return {name: torch.from_numpy(gguf.quants.dequantize(data, kind).copy())
            for name, (kind, data) in encoded.items()}


def write_model(path, name, config, encoded):
    writer = gguf.GGUFWriter(path, ARCHITECTURES[config.model_type])
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(name)
    write_metadata(writer, config)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    for key, (kind, data) in encoded.items():
        module = key.removesuffix(".weight")
        if config.model_type == "gemma3_text" and module.endswith("norm"):
            data = data + np.float32(1)
        tensor_name = gguf_name(module, config.model_type) + ".weight"
        writer.add_tensor(tensor_name, np.ascontiguousarray(permuted(module, data, config)), raw_dtype=kind)
    if config.rope_parameters.get("rope_type") == "llama3":
        writer.add_tensor("rope_freqs.weight", rope_divisors(config, config.rope_parameters).numpy())
    finish(writer)


def write_adapter(path, name, config, pairs, alpha, kind):
    """`pairs`: {module: (A, B)}. A GGUF adapter has one alpha; each pair's scale is alpha / its rank."""
    writer = gguf.GGUFWriter(path, ARCHITECTURES[config.model_type])
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string("adapter.type", "lora")
    writer.add_name(name)
    writer.add_float32("adapter.lora.alpha", alpha)
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    for module, (a, b) in pairs.items():
        key = gguf_name(module, config.model_type) + ".weight"
        for suffix, tensor in ((".lora_a", a), (".lora_b", permuted(module, b, config))):
            data = gguf.quants.quantize(np.ascontiguousarray(tensor.numpy()), kind)
            writer.add_tensor(key + suffix, data, raw_dtype=kind)
    finish(writer)
