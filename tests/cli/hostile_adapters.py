"""The malformed adapters: each is a right adapter of q and v for the tiny model with one thing wrong."""

import json
import math
import pathlib
import shutil
import struct

import builders
from hostile_models import MIB, Case

Q = "base_model.model.model.layers.1.self_attn.q_proj"
CASES = {}


def adapter_case(name, file, *says, max_rss=64 * MIB):
    """Registers a change of a file of the adapter, whose path the change is given."""

    def register(change):
        def build(folder, golden):
            path = folder / "adapter"
            shutil.copytree(golden, path)
            change(path / file)
            return Case(path, path, (file, *says), max_rss)

        CASES[name] = build

    return register


def field_case(field, value):
    """A field of adapter_config.json."""
    shown = json.dumps(value)[:30]

    @adapter_case(f"{field} {shown}", "adapter_config.json", field)
    def change(path):
        builders.with_json(path, lambda config: config.update({field: value}))


def tensors_case(name, *says):
    """Registers a change of the tensors, a dict of name: (dtype, shape, bytes)."""

    def register(change):
        @adapter_case(name, "adapter_model.safetensors", *says)
        def rewrite(path):
            tensors = read_tensors(path)
            change(tensors)
            path.write_bytes(pack_tensors(tensors))

    return register


def read_tensors(path):
    header, data = builders.read_safetensors(path.read_bytes())
    header.pop("__metadata__", None)
    return {name: (t["dtype"], t["shape"], data[slice(*t["data_offsets"])]) for name, t in header.items()}


def pack_tensors(tensors):
    header, data = {}, b""
    for name, (dtype, shape, values) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    return builders.safetensors(header, data)


def zeros(rows, cols, dtype="F32"):
    return dtype, [rows, cols], bytes(rows * cols * (4 if dtype == "F32" else 2))


def zero_adapter(folder, rank, dtype):
    """A valid adapter of the tiny model whose matrices are all 0."""
    folder.mkdir()
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": rank, "target_modules": ["q_proj"]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    tensors = {}
    for layer in range(3):
        module = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        tensors[module + ".lora_A.weight"] = zeros(rank, 64, dtype)
        tensors[module + ".lora_B.weight"] = zeros(64, rank, dtype)
    (folder / "adapter_model.safetensors").write_bytes(pack_tensors(tensors))
    return folder


for rank in (0, -1, 10**6, 1.5, "8", None, 2**63, True):
    field_case("r", rank)
for alpha in (1e38, "16", None, [16]):
    field_case("lora_alpha", alpha)
for field, value in {
    "use_dora": True,
    "use_rslora": "yes",
    "modules_to_save": ["lm_head"],
    "bias": "all",
    "rank_pattern": {"(((": 4},
    "alpha_pattern": {"q_proj": "x"},
    "layers_to_transform": [-1],
    "target_modules": None,
    "init_lora_weights": "pissa",
    "peft_type": "LOHA",
    "an_unknown_field": 1,
}.items():
    field_case(field, value)
field_case("target_modules", "(" * 5000)
field_case("target_modules", ["q_proj", "v_proj", "no_such_module"])
field_case("rank_pattern", {"q_proj": 10**6})


@adapter_case("43 alpha NaN", "adapter_config.json")
def _(path):
    path.write_text(path.read_text().replace('"lora_alpha": ', '"lora_alpha": NaN, "x": '))


@adapter_case("43 no alpha", "adapter_config.json", "lora_alpha")
def _(path):
    builders.with_json(path, lambda config: config.pop("lora_alpha") and config)


@adapter_case("config cut", "adapter_config.json")
def _(path):
    path.write_text(path.read_text()[:100])


@adapter_case("config 100,000 deep", "adapter_config.json")
def _(path):
    path.write_text('{"r":' * 100000)


@adapter_case("config of 40 MB", "adapter_config.json", max_rss=400 * MIB)
def _(path):
    path.write_text('{"r": 8, "notes": "' + "x" * 40_000_000 + '"}')


@adapter_case("42 r unlike the tensors", "adapter_model.safetensors", "rank", "adapter_config.json")
def _(path):
    builders.with_json(path.parent / "adapter_config.json", lambda config: config.update(r=5))


@tensors_case("44 A without B", Q)
def _(tensors):
    del tensors[Q + ".lora_B.weight"]


@tensors_case("44 B without A", Q)
def _(tensors):
    del tensors[Q + ".lora_A.weight"]


@tensors_case("45 A and B exchanged", Q)
def _(tensors):
    a, b = Q + ".lora_A.weight", Q + ".lora_B.weight"
    tensors[a], tensors[b] = tensors[b], tensors[a]


@tensors_case("45 three dimensions", Q)
def _(tensors):
    dtype, shape, data = tensors[Q + ".lora_A.weight"]
    tensors[Q + ".lora_A.weight"] = dtype, [*shape, 1], data


@tensors_case("46 module not in the base", "qkv_proj")
def _(tensors):
    for part, matrix in (("A", zeros(4, 64)), ("B", zeros(64, 4))):
        tensors[f"base_model.model.model.layers.1.self_attn.qkv_proj.lora_{part}.weight"] = matrix


@tensors_case("46 no modules")
def _(tensors):
    tensors.clear()


@tensors_case("46 layer 999", "layers.999")
def _(tensors):
    for part, matrix in (("A", zeros(4, 64)), ("B", zeros(64, 4))):
        tensors[f"base_model.model.model.layers.999.self_attn.q_proj.lora_{part}.weight"] = matrix


@tensors_case("47 hidden size of another base", Q)
def _(tensors):
    tensors[Q + ".lora_A.weight"] = zeros(tensors[Q + ".lora_A.weight"][1][0], 128)


for value in (math.nan, math.inf, -math.inf):

    @tensors_case(f"49 {value}", Q + ".lora_B.weight")
    def _(tensors, value=value):
        dtype, shape, data = tensors[Q + ".lora_B.weight"]
        tensors[Q + ".lora_B.weight"] = "F32", shape, struct.pack("<f", value) * math.prod(shape)


@tensors_case("type I64", Q)
def _(tensors):
    rank = tensors[Q + ".lora_A.weight"][1][0]
    tensors[Q + ".lora_A.weight"] = "I64", [rank, 64], bytes(rank * 64 * 8)


@adapter_case("52 pickle", "adapter_model.bin", "safetensors")
def _(path):
    (path.parent / "adapter_model.safetensors").unlink()
    path.write_bytes(b"\x80\x02}q\x00.")


@adapter_case("tensors cut", "adapter_model.safetensors")
def _(path):
    path.write_bytes(path.read_bytes()[:-1])


@adapter_case("tensors are a model's", "adapter_model.safetensors")
def _(path):
    shutil.copy(pathlib.Path(__file__).parent.parent / "golden/models/llama_tied/model.safetensors", path)
