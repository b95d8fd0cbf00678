"""Makes tests/golden/models: tiny random models in Hugging Face and in GGUF form, and for each what
transformers computes in float32 on exactly the stored weights.

  models/NAME/                     Hugging Face directory
  models/NAME.gguf                 the same weights
  models/NAME.golden.safetensors   tokens [T] (as f32), logits [T, vocab]
  models/NAME_TYPE.gguf            quantized; its golden file comes from the dequantized weights

Run: python make_models.py && python make_adapters.py
Needs: torch, transformers 5.x, peft, gguf, safetensors. Seeded: the same versions give the same files.
"""

import json
import shutil
from pathlib import Path

import gguf
import numpy as np
import torch
import transformers
from gguf import GGMLQuantizationType as Type
from safetensors.torch import save_file

import gguf_export

HERE = Path(__file__).parent
MODELS = HERE / "models"
TOKENS = 40
TINY = 2.0**-14  # the smallest normal f16

LLAMA3_ROPE = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
               "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
GEMMA_ROPE = {"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1e6},
              "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0}}


def llama_tied():
    """Grouped heads, tied head, rope scaling that matters within TOKENS positions."""
    return transformers.LlamaConfig(
        vocab_size=160, hidden_size=64, intermediate_size=96, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, max_position_embeddings=512, tie_word_embeddings=True,
        rope_parameters=LLAMA3_ROPE, bos_token_id=1, eos_token_id=2)


def llama_untied():
    return transformers.LlamaConfig(
        vocab_size=128, hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=256, tie_word_embeddings=False, rms_norm_eps=1e-5,
        bos_token_id=1, eos_token_id=2)


def qwen3():
    """Widths that fill no strip or block, heads x head_dim != hidden."""
    return transformers.Qwen3Config(
        vocab_size=131, hidden_size=40, intermediate_size=72, num_hidden_layers=3, num_attention_heads=3,
        num_key_value_heads=1, head_dim=32, max_position_embeddings=512, tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6}, bos_token_id=1, eos_token_id=2)


def gemma3():
    """Seven layers: five with a window, the sixth without, and one more; a rope of its own for either."""
    return transformers.Gemma3TextConfig(
        vocab_size=128, hidden_size=16, intermediate_size=48, num_hidden_layers=7, num_attention_heads=2,
        num_key_value_heads=1, head_dim=256, query_pre_attn_scalar=256, sliding_window=16,
        max_position_embeddings=512, rope_parameters=GEMMA_ROPE, bos_token_id=2, eos_token_id=1)


def llama_k():
    """Rows of 256, the block of the K types."""
    return transformers.LlamaConfig(
        vocab_size=64, hidden_size=256, intermediate_size=256, num_hidden_layers=1, num_attention_heads=8,
        num_key_value_heads=1, max_position_embeddings=256, tie_word_embeddings=True, bos_token_id=1,
        eos_token_id=2)


# name -> configuration, type of the Hugging Face tensors and of the GGUF matrices, largest shard
MODEL_KINDS = {
    "llama_tied": (llama_tied, torch.bfloat16, Type.BF16, "1GB"),
    "llama_untied": (llama_untied, torch.float32, Type.F32, "60KB"),
    "qwen3": (qwen3, torch.float16, Type.F16, "1GB"),
    "gemma3": (gemma3, torch.bfloat16, Type.F16, "1GB"),
}
QUANTIZED = {"q4_0": Type.Q4_0, "q4_1": Type.Q4_1, "q8_0": Type.Q8_0}


def storable(tensor):
    """Rounded to what f16 and bf16 both hold exactly."""
    tensor = tensor.to(torch.bfloat16).float()
    return torch.where(tensor.abs() < TINY, torch.zeros_like(tensor), tensor)


def seed(name):
    torch.manual_seed(sum(name.encode()))


def new_model(name, config):
    """Random weights at a scale that gives logits of a few units and attention that is far from uniform."""
    seed(name)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if weight.ndim == 1:
                center = 0.0 if config.model_type == "gemma3_text" else 1.0
                weight.copy_(storable(center + 0.3 * torch.randn_like(weight)))
            elif "embed_tokens" in key:
                weight.copy_(storable(0.5 * torch.randn_like(weight)))
            else:
                weight.copy_(storable(1.5 * torch.randn_like(weight) / weight.shape[1] ** 0.5))
    return model


def weights_of(model):
    """The tensors a file holds: without a tied head."""
    weights = {key: value.detach().clone().float() for key, value in model.named_parameters()}
    if model.config.tie_word_embeddings:
        weights.pop("lm_head.weight", None)
    return weights


def with_weights(name, config, weights):
    model = new_model(name, config)
    model.load_state_dict(weights, strict=False)
    return model


def tokens_of(name, config, count=TOKENS):
    seed(name + " tokens")
    return torch.randint(3, config.vocab_size, (count,))


def logits_of(model, tokens):
    with torch.no_grad():
        return model(tokens[None]).logits[0].float()


def write_golden(path, tokens, logits):
    save_file({"tokens": tokens.float(), "logits": logits.contiguous()}, path)


def write_hf(name, model, dtype, shard):
    folder = MODELS / name
    weights = weights_of(model)
    saved = new_model(name, model.config)
    saved.load_state_dict(weights, strict=False)
    saved.to(dtype).save_pretrained(folder, max_shard_size=shard)
    (folder / "generation_config.json").unlink(missing_ok=True)


def old_config(config):
    """config.json as transformers 4.x wrote it: the rope's fields at the top."""
    fields = json.loads((MODELS / config / "config.json").read_text())
    rope = fields.pop("rope_parameters")
    full = dict(rope.get("full_attention", rope))
    fields["rope_theta"] = full.pop("rope_theta")
    fields["rope_scaling"] = None if full["rope_type"] == "default" else full
    if "sliding_attention" in rope:
        fields["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
        del fields["layer_types"]
        fields["sliding_window_pattern"] = 6
    fields["torch_dtype"] = fields.pop("dtype")
    fields["transformers_version"] = "4.51.3"
    return fields


def write_old_config(name, tokens, logits):
    """Beside the model, under another name, once transformers has read it to the same logits."""
    folder = MODELS / name
    text = json.dumps(old_config(name), indent=2, sort_keys=True) + "\n"
    new_text = (folder / "config.json").read_text()
    (folder / "config.json").write_text(text)
    try:
        model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager")
    finally:
        (folder / "config.json").write_text(new_text)
    assert torch.equal(logits_of(model, tokens), logits), f"{name}: the old configuration reads differently"
    (folder / "config_4x.json").write_text(text)


def check_sensitive(name, config, weights, tokens, logits):
    """What these models are here to test must show in their logits."""
    def changed(**fields):
        other = type(config)(**(config.to_dict() | fields))
        return (logits_of(with_weights(name, other, weights), tokens) - logits).abs().max().item()

    global_rope, local_rope = GEMMA_ROPE["full_attention"], GEMMA_ROPE["sliding_attention"]
    changes = {"llama_tied": [{"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}],
               "gemma3": [{"sliding_window": 17}, {"layer_types": ["sliding_attention"] * 7},
                          {"rope_parameters": GEMMA_ROPE | {"full_attention": local_rope}},
                          {"rope_parameters": GEMMA_ROPE | {"sliding_attention": global_rope}}]}
    for fields in changes.get(name, []):
        difference = changed(**fields)
        print(f"  {name} with {fields}: {difference:.3g}")
        assert difference > 0.05, f"{name} does not feel {fields}"


def make(name, config, dtype, kind, shard):
    model = new_model(name, config)
    weights, tokens = weights_of(model), tokens_of(name, config)
    logits = logits_of(model, tokens)
    print(f"{name}: logits up to {logits.abs().max():.3g}, spread {logits.std():.3g}")
    check_sensitive(name, config, weights, tokens, logits)
    write_hf(name, model, dtype, shard)
    write_old_config(name, tokens, logits)
    gguf_export.write_model(MODELS / f"{name}.gguf", name, config, gguf_export.encode(weights, kind))
    write_golden(MODELS / f"{name}.golden.safetensors", tokens, logits)


def write_quantized(name, config, encoded):
    tokens = tokens_of(name, config)
    logits = logits_of(with_weights(name, config, gguf_export.decode(encoded)), tokens)
    print(f"{name}: logits up to {logits.abs().max():.3g}, spread {logits.std():.3g}")
    gguf_export.write_model(MODELS / f"{name}.gguf", name, config, encoded)
    write_golden(MODELS / f"{name}.golden.safetensors", tokens, logits)


def half_bytes(blocks, value):
    return np.full((blocks, 1), value, np.float16).view(np.uint8)


def random_q4_k(random, rows, cols):
    """Blocks of 256: f16 d, f16 dmin, eight pairs of 6-bit scale and min in 12 bytes, 256 nibbles.

    w = d * scale * q - dmin * min. A min is near its scale and dmin is 7.5 d, so that weights are centered; d
    is a power of two, so that d * scale is an f16 and a reader can keep every weight exactly.
    """
    blocks = rows * cols // 256
    scale = random.integers(16, 62, (blocks, 8))
    low = np.clip(scale + random.integers(-2, 3, (blocks, 8)), 0, 63)
    packed = np.concatenate([scale[:, :4] | (scale[:, 4:] >> 4) << 6, low[:, :4] | (low[:, 4:] >> 4) << 6,
                             (scale[:, 4:] & 15) | (low[:, 4:] & 15) << 4], axis=1).astype(np.uint8)
    nibbles = random.integers(0, 256, (blocks, 128), np.uint8)
    d = 2.0**-11
    data = np.concatenate([half_bytes(blocks, d), half_bytes(blocks, 7.5 * d), packed, nibbles], axis=1)
    return data.reshape(rows, -1)


def random_q6_k(random, rows, cols):
    """Blocks of 256: 128 bytes of low nibbles, 64 of high bit pairs, sixteen i8 scales, f16 d."""
    blocks = rows * cols // 256
    quants = random.integers(0, 256, (blocks, 192), np.uint8)
    scales = random.integers(20, 61, (blocks, 16)) * random.choice([-1, 1], (blocks, 16))
    scales = scales.astype(np.int8).view(np.uint8)
    return np.concatenate([quants, scales, half_bytes(blocks, 2.0**-12)], axis=1).reshape(rows, -1)


def make_k_quantized(name, kind, draw):
    """All matrices of one K type. gguf cannot quantize to these: the blocks are drawn."""
    config = llama_k()
    random = np.random.default_rng(4)
    encoded = gguf_export.encode(weights_of(new_model(name, config)), Type.F32)
    for key, (_, data) in encoded.items():
        if data.ndim == 2:
            encoded[key] = (kind, draw(random, *data.shape))
    write_quantized(name, config, encoded)


def main():
    transformers.logging.set_verbosity_error()
    shutil.rmtree(MODELS, ignore_errors=True)
    MODELS.mkdir()
    for name, (config, dtype, kind, shard) in MODEL_KINDS.items():
        make(name, config(), dtype, kind, shard)
    for suffix, kind in QUANTIZED.items():
        weights = weights_of(new_model("llama_tied", llama_tied()))
        write_quantized(f"llama_tied_{suffix}", llama_tied(), gguf_export.encode(weights, kind))
    make_k_quantized("llama_q4_k", Type.Q4_K, random_q4_k)
    make_k_quantized("llama_q6_k", Type.Q6_K, random_q6_k)


if __name__ == "__main__":
    main()
