"""Makes tests/golden/adapters: LoRA adapters of the tiny models, made by PEFT, and what PEFT makes of the
saved files.

  adapters/NAME/                     PEFT directory
  adapters/NAME.gguf                 the same adapter, for those that GGUF's one alpha can express
  adapters/NAME.golden.safetensors   tokens [T] (as f32), logits [T, vocab]; metadata "base": the model's name
  adapters/mix.golden.safetensors    two adapters active at once, each delta times its weight: the sum

Run after make_models.py. All values are exact in f16 and bf16, so that a file's type does not matter.
"""

import json
import shutil
from pathlib import Path

import peft
import torch
import transformers
from gguf import GGMLQuantizationType as Type
from safetensors.torch import load_file, save_file

import gguf_export
from make_models import HERE, MODELS, logits_of, seed, storable, tokens_of

ADAPTERS = HERE / "adapters"
TOKENS = 24
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]

# name -> base, LoraConfig fields, type of the PEFT file, type of the GGUF file or None
KINDS = {
    "all_linear": ("llama_tied", dict(r=8, lora_alpha=16, target_modules="all-linear"),
                   torch.float32, Type.F32),
    "qv": ("llama_tied", dict(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"]),
           torch.float16, Type.F16),
    "regex": ("llama_tied", dict(r=5, lora_alpha=5, target_modules=(
        r".*\.layers\.[02]\.(self_attn\.[qo]_proj|mlp\.down_proj)")), torch.bfloat16, None),
    "patterns": ("llama_tied", dict(
        r=4, lora_alpha=8, target_modules=ALL,  # the first pattern of the file that matches is taken
        rank_pattern={"1.self_attn.k_proj": 3, "k_proj": 7, r"layers\.\d+\.mlp\.up_proj": 2},
        alpha_pattern={"1.mlp.down_proj": 20, "q_proj": 2}), torch.float32, None),
    "ranks": ("llama_tied", dict(r=4, lora_alpha=8, target_modules=["q_proj", "up_proj"],
                                 rank_pattern={"up_proj": 17}), torch.float32, Type.F32),
    "rslora": ("llama_tied", dict(r=6, lora_alpha=6, target_modules=["k_proj", "gate_proj"],
                                  use_rslora=True), torch.float32, None),
    "layers": ("llama_tied", dict(r=4, lora_alpha=4, target_modules=["v_proj", "up_proj"],
                                  layers_to_transform=[1]), torch.bfloat16, Type.BF16),
    "excluded": ("llama_tied", dict(r=4, lora_alpha=4, target_modules=["o_proj", "down_proj"],
                                    exclude_modules=["model.layers.0.self_attn.o_proj"]),
                 torch.float16, None),
    "rank1": ("llama_tied", dict(r=1, lora_alpha=2, target_modules=ALL), torch.bfloat16, Type.F32),
    "rank64": ("llama_tied", dict(r=64, lora_alpha=64, target_modules=["k_proj", "o_proj"]),
               torch.float16, Type.F16),
    "tied_head": ("llama_tied", dict(r=4, lora_alpha=8, target_modules=["lm_head"]), torch.float32, None),
    "head": ("llama_untied", dict(r=4, lora_alpha=8, target_modules=["lm_head", "v_proj"]),
             torch.float32, Type.F32),
    "dora": ("llama_tied", dict(r=6, lora_alpha=12, target_modules=ALL, use_dora=True,
                                rank_pattern={"v_proj": 3}), torch.float32, None),
    "dora_head": ("llama_untied", dict(r=4, lora_alpha=4, target_modules=["lm_head", "o_proj", "up_proj"],
                                       use_dora=True, use_rslora=True), torch.bfloat16, None),
    "dora_even": ("llama_tied", dict(r=4, lora_alpha=8, target_modules=ALL, use_dora=True), torch.float32, None),
    "dora_gemma3": ("gemma3", dict(r=3, lora_alpha=6, target_modules=["k_proj", "o_proj", "up_proj", "down_proj"],
                                   use_dora=True), torch.float32, None),
    "qwen3": ("qwen3", dict(r=5, lora_alpha=10, target_modules=ALL), torch.bfloat16, Type.F16),
    "gemma3": ("gemma3", dict(r=3, lora_alpha=6, target_modules=["q_proj", "v_proj", "o_proj", "gate_proj"]),
               torch.float16, Type.F16),
}
MIX = {"all_linear": 0.75, "ranks": -0.5}


def base_model(name):
    folder = MODELS / name
    return transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager").eval()


def randomize(name, model):
    """PEFT starts from B = 0; here A and B get values that change the logits by a few units."""
    seed(name + " adapter")
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if ".lora_A." in key:
                weight.copy_(storable(torch.randn_like(weight) / weight.shape[1] ** 0.5))
            elif ".lora_B." in key:
                weight.copy_(storable(0.3 * torch.randn_like(weight) / weight.shape[1] ** 0.5))
            elif ".lora_magnitude_vector." in key:
                weight.copy_(storable(weight * (1 + 0.2 * torch.randn_like(weight))))


def save_peft(name, base, model, dtype):
    """As PEFT saves it, but in `dtype` and without what names this machine."""
    folder = ADAPTERS / name
    model.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink()
    weights = {key: value.to(dtype).contiguous() for key, value in
               load_file(folder / "adapter_model.safetensors").items()}
    save_file(weights, folder / "adapter_model.safetensors", {"format": "pt"})
    config = json.loads((folder / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = f"tiny/{base}"
    for field, value in config.items():
        if field in ("target_modules", "exclude_modules") and isinstance(value, list):
            config[field] = sorted(value)  # a set in PEFT: its order differs from run to run
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")
    return weights


def pairs_of(weights):
    """{module: (A, B)} in f32."""
    pairs = {}
    for key, value in weights.items():
        module, part, _ = key.removeprefix("base_model.model.").rsplit(".", 2)
        pairs.setdefault(module, {})[part] = value.float()
    return {module: (ab["lora_A"], ab["lora_B"]) for module, ab in pairs.items()}


def write_golden(name, base, tokens, logits):
    save_file({"tokens": tokens.float(), "logits": logits.contiguous()},
              ADAPTERS / f"{name}.golden.safetensors", {"base": base})


def make(name, base, fields, dtype, kind):
    model = base_model(base)
    tokens = tokens_of(name, model.config, TOKENS)
    without = logits_of(model, tokens)
    config = peft.LoraConfig(task_type="CAUSAL_LM", lora_dropout=0.05, **fields)
    model = peft.get_peft_model(model, config).eval()
    randomize(name, model)
    weights = save_peft(name, base, model, dtype)
    logits = logits_of(peft.PeftModel.from_pretrained(base_model(base), ADAPTERS / name).eval(), tokens)
    effect = (logits - without).abs().max().item()
    print(f"{name}: {len(weights)} tensors, logits change by up to {effect:.3g}")
    assert effect > 0.1
    write_golden(name, base, tokens, logits)
    if kind is not None:
        pairs = pairs_of(weights)
        alpha = fields["lora_alpha"]
        gguf_export.write_adapter(ADAPTERS / f"{name}.gguf", name, model.config, pairs, alpha, kind)


def make_mix():
    """PEFT adds the deltas of all active adapters; the scale of each is multiplied by its weight."""
    names = list(MIX)
    base = base_model("llama_tied")
    model = peft.PeftModel.from_pretrained(base, ADAPTERS / names[0], adapter_name=names[0])
    model.load_adapter(ADAPTERS / names[1], adapter_name=names[1])
    model.base_model.set_adapter(names)
    for module in model.modules():
        if isinstance(module, peft.tuners.lora.LoraLayer):
            for name in module.scaling:
                module.scaling[name] *= MIX[name]
    tokens = tokens_of("mix", model.config, TOKENS)
    write_golden("mix", "llama_tied", tokens, logits_of(model.eval(), tokens))


def main():
    transformers.logging.set_verbosity_error()
    shutil.rmtree(ADAPTERS, ignore_errors=True)
    ADAPTERS.mkdir()
    for name, (base, fields, dtype, kind) in KINDS.items():
        make(name, base, fields, dtype, kind)
    make_mix()


if __name__ == "__main__":
    main()
