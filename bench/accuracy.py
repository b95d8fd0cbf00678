#!/usr/bin/env python3
"""Compares `chorus eval` with transformers in float32 on the same dequantized weights, case by case.

usage: accuracy.py BASE.gguf --chorus BINARY [--exact] [--llama-cpp DIR] [--case NAME]... [--threads N]
                   [--write-golden]

Needs torch, transformers 5, peft, gguf and safetensors. Every case scores accuracy_text.txt as one sequence:
the base, the two demo adapters, one adapter of random values (of a trained one's size) for every kind of PEFT
configuration, one read from GGUF, and two mixes. The reference is what PEFT makes of the saved adapter.

Printed for every case: the perplexities, by how much Chorus's differs, and the mean and the largest
KL(reference || Chorus) of the next-token distributions over all scored positions.

--llama-cpp DIR: a source tree of llama.cpp with shared libraries in DIR/build/bin. accuracy_llama.cc is built
against it, and the KL of its logits for the same tokens, at the same positions, is printed too. It reads every
adapter as F32 GGUF with PEFT's scale in B, so that no conversion counts against it.

--write-golden: also writes tests/golden/eval/expected.json, the reference of the cases that tests/cli/test_eval.py
checks without torch.
"""
import argparse
import dataclasses
import hashlib
import json
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import peft
import torch
import transformers
from gguf import GGMLQuantizationType as Type
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "golden"))
import gguf_export  # noqa: E402

TEXT = ROOT / "bench" / "accuracy_text.txt"
GOLDEN = ROOT / "tests" / "golden" / "eval" / "expected.json"
TRAINED = ["elf", "image-prompt"]
ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
B_DEVIATION = 0.006  # of the trained adapters; A starts, and nearly stays, as PEFT initializes it

# name -> LoraConfig fields of the adapters of random values
KINDS = {
    "all-linear": dict(r=8, lora_alpha=16, target_modules="all-linear"),
    "list": dict(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"]),
    "regex": dict(r=8, lora_alpha=16, target_modules=(
        r".*\.layers\.\d*[02468]\.(self_attn\.[qo]_proj|mlp\.down_proj)")),
    "patterns": dict(r=8, lora_alpha=16, target_modules=ALL,
                     rank_pattern={"k_proj": 4, r"layers\.1\d\.mlp\.up_proj": 24},
                     alpha_pattern={"3.mlp.down_proj": 40, "q_proj": 4}),
    "rslora": dict(r=16, lora_alpha=16, target_modules=ALL, use_rslora=True),
    "layers": dict(r=8, lora_alpha=16, target_modules=ALL, layers_to_transform=list(range(10, 20))),
    "gguf": dict(r=8, lora_alpha=16, target_modules=ALL),
}


@dataclasses.dataclass
class Case:
    name: str
    mix: dict  # adapter -> weight
    golden: bool = False


CASES = [Case("base", {}, True), *(Case(name, {name: 1}, True) for name in TRAINED),
         *(Case(name, {name: 1}) for name in KINDS),
         Case("mix", {"elf": 0.6, "image-prompt": 0.5}, True), Case("mix-kinds", {"patterns": 0.5, "gguf": 0.75})]


def load_base(path):
    folder, name = path.parent, path.name
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32)
    return model.eval(), transformers.AutoTokenizer.from_pretrained(folder, gguf_file=name)


def lora_layers(model):
    """{module as the base names it: its LoRA layer}, for those that an active adapter has a pair for."""
    return {name.removeprefix("base_model.model."): module for name, module in model.named_modules()
            if isinstance(module, peft.tuners.lora.LoraLayer)}


def make_adapter(base, name, folder):
    """A PEFT directory with f16 values, from a seed that depends on the name alone."""
    torch.manual_seed(int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big"))
    model = peft.get_peft_model(base, peft.LoraConfig(task_type="CAUSAL_LM", **KINDS[name]))
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if ".lora_B." in key:
                weight.normal_(0, B_DEVIATION)
    model.save_pretrained(folder, save_embedding_layers=False)
    model.unload()
    weights = load_file(folder / "adapter_model.safetensors")
    save_file({key: value.half() for key, value in weights.items()}, folder / "adapter_model.safetensors",
              {"format": "pt"})


class Adapters:
    """The PEFT directories, and their GGUF forms, that the cases need; made when first asked for."""

    def __init__(self, base, work):
        self.base, self.work = base, work

    def peft_folder(self, name):
        if name in TRAINED:
            return ROOT / "adapters" / name
        folder = self.work / name
        if not folder.exists():
            make_adapter(self.base, name, folder)
        return folder

    def for_chorus(self, name):
        """The path that Chorus loads: the PEFT directory, but for "gguf" an f16 GGUF of the same values."""
        folder = self.peft_folder(name)
        if name != "gguf":
            return folder
        path = self.work / "chorus-gguf.gguf"
        model = peft.PeftModel.from_pretrained(self.base, folder)
        pairs = {module: (layer.lora_A["default"].weight.detach(), layer.lora_B["default"].weight.detach())
                 for module, layer in lora_layers(model).items()}
        gguf_export.write_adapter(path, name, self.base.config, pairs, KINDS[name]["lora_alpha"], Type.F16)
        model.unload()
        return path


def with_adapters(base, adapters, mix):
    """PEFT adds the deltas of all active adapters; the scale of each is multiplied by its weight."""
    first = next(iter(mix))
    model = peft.PeftModel.from_pretrained(base, adapters.peft_folder(first), adapter_name=first)
    for name in list(mix)[1:]:
        model.load_adapter(adapters.peft_folder(name), adapter_name=name)
    model.base_model.set_adapter(list(mix))
    for layer in lora_layers(model).values():
        for name in layer.scaling:
            layer.scaling[name] *= mix[name]
    return model.eval()


def write_scaled_gguf(model, config, name, path):
    """One adapter of a PEFT model for llama.cpp, which divides one alpha by the rank: alpha 1, the rest in B."""
    pairs = {}
    for module, layer in lora_layers(model).items():
        if name in layer.lora_A:
            a, b = layer.lora_A[name].weight.detach(), layer.lora_B[name].weight.detach()
            pairs[module] = (a, b * (layer.scaling[name] * a.shape[0]))
    gguf_export.write_adapter(path, name, config, pairs, 1.0, Type.F32)
    return path


@torch.no_grad()
def reference(base, adapters, case, tokens, for_llama):
    """The logits of all positions but the last; writes llama.cpp's adapters and returns their paths if asked."""
    model = with_adapters(base, adapters, case.mix) if case.mix else base
    logits = model(torch.tensor([tokens])).logits[0, :-1]
    paths = []
    if case.mix:
        if for_llama:
            paths = [write_scaled_gguf(model, base.config, name, adapters.work / f"llama-{name}.gguf")
                     for name in case.mix]
        model.unload()
    return logits, paths


def read_logits(path, positions, vocab):
    """Of the scored positions; a file may also hold the last one, which predicts nothing."""
    logits = np.fromfile(path, dtype=np.float32)
    assert logits.size in (positions * vocab, (positions + 1) * vocab), f"{path}: {logits.size} values"
    return torch.from_numpy(logits.reshape(-1, vocab)[:positions])


def run_chorus(arguments, case, adapters, positions, vocab):
    """`chorus eval`'s document and logits."""
    path = adapters.work / "chorus.logits"
    command = [arguments.chorus, "eval", arguments.base, TEXT, "--json", "--logits", path,
               "--threads", arguments.threads]
    if arguments.exact:
        command.append("--exact")
    for name in case.mix:
        command += ["--adapter", f"{name}={adapters.for_chorus(name)}"]
    if case.mix:
        command += ["--use", use_of(case)]
    run = subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(run.stdout), read_logits(path, positions, vocab)


def use_of(case):
    return "+".join(f"{name}@{weight}" for name, weight in case.mix.items())


def build_llama(tree, work):
    binary, libraries = work / "accuracy_llama", Path(tree) / "build" / "bin"
    subprocess.run(["c++", "-std=c++20", "-O2", ROOT / "bench" / "accuracy_llama.cc", "-o", binary,
                    f"-I{tree}/include", f"-I{tree}/ggml/include", f"-L{libraries}", f"-Wl,-rpath,{libraries}",
                    "-lllama", "-lggml", "-lggml-base"], check=True)
    return binary


def run_llama(binary, arguments, tokens, paths, work, vocab):
    np.array(tokens, dtype=np.int32).tofile(work / "tokens")
    command = [binary, arguments.base, work / "tokens", work / "llama.logits", arguments.threads]
    for path in paths:
        command += [path, 1]
    subprocess.run([str(word) for word in command], check=True)
    return read_logits(work / "llama.logits", len(tokens) - 1, vocab)


def mean_nll(logits, tokens):
    targets = torch.tensor(tokens[1:])
    chunks = [torch.nn.functional.cross_entropy(rows.double(), wanted, reduction="sum")
              for rows, wanted in zip(logits.split(64), targets.split(64))]
    return (sum(chunks) / len(targets)).item()


def divergence(wanted, got):
    """KL(wanted || got) of the distributions, by position, in nats."""
    chunks = []
    for p, q in zip(wanted.split(64), got.split(64)):
        p, q = torch.log_softmax(p.double(), -1), torch.log_softmax(q.double(), -1)
        chunks.append((p.exp() * (p - q)).sum(-1))
    return torch.cat(chunks)


def measure(case, arguments, base, adapters, tokens, llama):
    """Prints the case's row and returns its reference for the golden file."""
    wanted, paths = reference(base, adapters, case, tokens, llama is not None)
    positions, vocab = wanted.shape
    score, got = run_chorus(arguments, case, adapters, positions, vocab)
    assert score["tokens"] == positions, "chorus and transformers do not cut the text into the same tokens"
    nll, kl = mean_nll(wanted, tokens), divergence(wanted, got)
    off = 100 * (score["perplexity"] / math.exp(nll) - 1)
    row = (f"| {case.name:12} | {math.exp(nll):9.4f} | {score['perplexity']:9.4f} | {off:+6.3f} % "
           f"| {kl.mean():.6f} | {kl.max():.4f} |")
    if llama is not None:
        other = run_llama(llama, arguments, tokens, paths, adapters.work, vocab)
        other_kl = divergence(wanted, other)
        other_off = 100 * (math.exp(mean_nll(other, tokens) - nll) - 1)
        row += f" {other_off:+6.3f} % | {other_kl.mean():.6f} | {other_kl.max():.4f} |"
    print(row, flush=True)
    return {"use": use_of(case), "tokens": positions, "nll": nll, "perplexity": math.exp(nll)}


def print_head(with_llama):
    heads = ["case        ", "reference", "   chorus", "    diff", " mean KL", "max KL"]
    if with_llama:
        heads += ["llama.cpp: diff", "mean KL", "max KL"]
    print("| " + " | ".join(heads) + " |")
    print("|" + "---|" * len(heads), flush=True)


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_golden(cases, base_path):
    adapters = {name: sha256(ROOT / "adapters" / name / "adapter_model.safetensors") for name in TRAINED}
    document = {"made_by": "bench/accuracy.py --write-golden", "text": str(TEXT.relative_to(ROOT)),
                "sha256": {"model": sha256(base_path), "text": sha256(TEXT), "adapters": adapters}, "cases": cases}
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(json.dumps(document, indent=2) + "\n")


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("base", type=Path)
    parser.add_argument("--chorus", required=True)
    parser.add_argument("--llama-cpp")
    parser.add_argument("--case", action="append", choices=[case.name for case in CASES], help="only this; may repeat")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--exact", action="store_true", help="chorus runs with --exact")
    parser.add_argument("--write-golden", action="store_true")
    arguments = parser.parse_args()
    if arguments.write_golden and arguments.case:
        parser.error("--write-golden needs all cases")
    return arguments


def main():
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    transformers.logging.set_verbosity_error()
    base, tokenizer = load_base(arguments.base)
    tokens = tokenizer(TEXT.read_text(), add_special_tokens=False)["input_ids"]
    with tempfile.TemporaryDirectory() as folder:
        adapters = Adapters(base, Path(folder))
        llama = build_llama(arguments.llama_cpp, adapters.work) if arguments.llama_cpp else None
        golden = {}
        print_head(llama is not None)
        for case in CASES:
            if arguments.case is not None and case.name not in arguments.case:
                continue
            result = measure(case, arguments, base, adapters, tokens, llama)
            if case.golden:
                golden[case.name] = result
    if arguments.write_golden:
        write_golden(golden, arguments.base)


if __name__ == "__main__":
    main()
