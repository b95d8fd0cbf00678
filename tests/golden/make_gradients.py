"""Makes tests/golden/gradients: what torch + PEFT in float32 says of the loss of two examples and of its gradient.

  gradients/NAME.safetensors   metadata "base", "adapter", "dropout"; tokens_0, labels_0 (1: is to be predicted), nll_0 (of
                               those, in their order), likewise _1; and a gradient for each tensor of the adapter, by
                               its name there

The loss is the mean over the labels of both examples. Run after make_adapters.py.
"""

import shutil

import numpy as np
import peft
import torch
import transformers
from safetensors.torch import save_file

import gguf_export
from make_adapters import ADAPTERS
from make_models import HERE, MODELS, QUANTIZED, seed, weights_of, with_weights

GRADIENTS = HERE / "gradients"
LENGTHS = (23, 14)
DROPOUT, DROPOUT_KEY, EXAMPLE_KEYS = 0.25, 77, (5, 6)
# name -> base's folder or GGUF file, adapter, dropout
KINDS = {
    "llama": ("llama_tied", "all_linear", 0),
    "llama_dropout": ("llama_tied", "all_linear", DROPOUT),
    "llama_q4_0": ("llama_tied_q4_0.gguf", "all_linear", 0),
    "llama_layer": ("llama_tied", "layers", 0),
    "llama_rslora": ("llama_tied", "rslora", 0),
    "qwen3": ("qwen3", "qwen3", 0),
    "gemma3": ("gemma3", "gemma3", 0),
    "llama_head": ("llama_untied", "head", 0),
    "llama_head_dropout": ("llama_untied", "head", DROPOUT),
    "llama_tied_head": ("llama_tied", "tied_head", 0),
    "llama_dora": ("llama_tied", "dora_even", 0),
    "gemma3_dora": ("gemma3", "dora_gemma3", 0),
}
GROUPS = {"q_proj": 0, "k_proj": 0, "v_proj": 0, "o_proj": 1, "gate_proj": 2, "up_proj": 2, "down_proj": 3}
U64, GOLDEN = np.uint64, np.uint64(0x9E3779B97F4A7C15)


def mix(x):
    """SplitMix64's finalizer."""
    x = (x ^ (x >> U64(30))) * U64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> U64(27))) * U64(0x94D049BB133111EB)
    return x ^ (x >> U64(31))


def stream_key(key, stream):
    return mix(mix(U64(key) + GOLDEN) + U64(stream))


def kept(key, row_keys, cols):
    """dropout_keeps() of src/kernels/training.h, for all rows and columns."""
    bits = mix(mix(U64(key) + GOLDEN) + row_keys)[:, None]
    add, flip = (bits & U64(0xFFFFFFFF)).astype(np.uint32), (bits >> U64(32)).astype(np.uint32)
    x = (np.arange(cols, dtype=np.uint32)[None] * np.uint32(0x9E3779B9) + add) ^ flip
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    x = (x ^ (x >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    x = x ^ (x >> np.uint32(16))
    return (x >> np.uint32(8)) * 2.0**-24 >= DROPOUT


class KeyedDropout(torch.nn.Module):
    """Drops what Chorus drops, in place of a module's own dropout."""

    def __init__(self, layer, group):
        super().__init__()
        self.key = stream_key(DROPOUT_KEY, layer * 4 + group)
        self.example = 0

    def forward(self, x):
        row_keys = np.array([stream_key(EXAMPLE_KEYS[self.example], i) for i in range(x.shape[1])], dtype=np.uint64)
        mask = torch.from_numpy(kept(self.key, row_keys, x.shape[2]))
        return torch.where(mask[None], x / (1 - DROPOUT), torch.zeros_like(x))


def base_model(name):
    """A folder's model; of a GGUF file, the folder's with the weights that the file's quantization leaves."""
    folder, _, kind = name.removesuffix(".gguf").partition("_q")
    options = dict(dtype=torch.float32, attn_implementation="eager")
    model = transformers.AutoModelForCausalLM.from_pretrained(MODELS / folder, **options)
    if not kind:
        return model
    decoded = gguf_export.decode(gguf_export.encode(weights_of(model), QUANTIZED[f"q{kind}"]))
    return with_weights(folder, model.config, decoded)


def with_keyed_dropout(model):
    masks = []
    for name, module in model.named_modules():
        if isinstance(module, peft.tuners.lora.LoraLayer):
            if name.endswith("lm_head"):
                masks.append(KeyedDropout(model.config.num_hidden_layers, 0))
            else:
                layer = int(name.split(".layers.")[1].split(".")[0])
                masks.append(KeyedDropout(layer, GROUPS[name.rsplit(".", 1)[1]]))
            module.lora_dropout["default"] = masks[-1]
    return masks


def make(name, base, adapter, dropout):
    model = peft.PeftModel.from_pretrained(base_model(base), ADAPTERS / adapter, is_trainable=True)
    masks = with_keyed_dropout(model) if dropout else []
    model.train(bool(dropout))
    seed(name + " gradients")
    out, losses = {}, []
    for i, length in enumerate(LENGTHS):
        tokens = torch.randint(3, model.config.vocab_size, (length,))
        labels = torch.rand(length) < 0.6
        labels[0], labels[-1] = False, True
        for mask in masks:
            mask.example = i
        logits = model(tokens[None, :-1]).logits[0]
        nll = torch.nn.functional.cross_entropy(logits, tokens[1:], reduction="none")[labels[1:]]
        losses.append(nll)
        out |= {f"tokens_{i}": tokens.float(), f"labels_{i}": labels.float(), f"nll_{i}": nll.detach()}
    torch.cat(losses).mean().backward()
    for key, weight in model.named_parameters():
        if weight.requires_grad:
            assert weight.grad is not None and weight.grad.abs().max() > 0, key
            out[key.replace(".default.", ".")] = weight.grad
    out = {key.replace("magnitude_vector.weight", "magnitude_vector"): value.contiguous() for key, value in out.items()}
    save_file(out, GRADIENTS / f"{name}.safetensors", {"base": base, "adapter": adapter, "dropout": str(dropout)})
    print(f"{name}: loss {torch.cat(losses).mean():.4f}, {len(out) - 6} gradients")


def main():
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)  # the same sums each time
    np.seterr(over="ignore")
    shutil.rmtree(GRADIENTS, ignore_errors=True)
    GRADIENTS.mkdir()
    for name, kind in KINDS.items():
        make(name, *kind)


if __name__ == "__main__":
    main()
