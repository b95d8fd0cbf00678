"""Adapters of the tiny model, as many as are wanted, each with an effect of its own."""

import json
import random
import shutil
import struct

import builders

CHAT_TEMPLATE = (
    "{% for message in messages %}[{{ message.role }}]{{ message.content }}{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)


def with_chat_template(data):
    """A GGUF model with a template that the tiny vocabulary can write."""
    file = builders.read_gguf(data)
    file.keys["tokenizer.chat_template"] = (builders.STRING, CHAT_TEMPLATE)
    return file.pack()


def write_variant(source, folder, number, strength=1.0):
    """A copy of a PEFT adapter whose B matrices are random: the same number, the same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(source / "adapter_config.json", folder)
    replace(folder / "adapter_model.safetensors", variant_bytes(source, number, strength))
    return folder


def variant_bytes(source, number, strength=1.0):
    header, data = builders.read_safetensors((source / "adapter_model.safetensors").read_bytes())
    draw = random.Random(number)
    out = bytearray(data)
    for name, tensor in header.items():
        if "lora_B" not in name:
            continue
        begin, end = tensor["data_offsets"]
        kind, size = {"F16": ("e", 2), "F32": ("f", 4)}[tensor["dtype"]]
        count = (end - begin) // size
        out[begin:end] = struct.pack(f"<{count}{kind}", *(draw.gauss(0, strength) for _ in range(count)))
    return builders.safetensors(header, bytes(out))


def replace(path, data):
    """Writes a file whole, or not at all."""
    draft = path.with_name(f".{path.name}.draft")
    draft.write_bytes(data)
    draft.rename(path)


def change_config(folder, **fields):
    path = folder / "adapter_config.json"
    replace(path, json.dumps(json.loads(path.read_text()) | fields).encode())
