#!/usr/bin/env python3
"""A mixed batch of N adapters against the same requests one after the other.

usage: mixed_adapters.py CHORUS MODEL [--adapters 8] [--rank 16] [--prompt 128] [--output 100] [--threads T]

Writes N random adapters of that rank on all linears (values don't matter for speed), one greedy request for each, and
runs `chorus batch --compare`, which also checks that both ways give the same answers. Needs nothing but Python.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

WORDS = "the old harbor keeps a lamp for every boat that has not come home and counts them in the rain ".split()


def random_f16(count):
    """Small random half floats as bytes: any sign and mantissa, exponents around 2^-7."""
    data = bytearray(2 * count)
    data[0::2] = os.urandom(count)
    data[1::2] = os.urandom(count).translate(bytes((b & 0x83) | 0x20 for b in range(256)))
    return bytes(data)


def linears(model):
    hidden, mlp = model["hidden"], model["mlp"]
    q, kv = model["heads"] * model["head_dim"], model["kv_heads"] * model["head_dim"]
    return {"self_attn.q_proj": (q, hidden), "self_attn.k_proj": (kv, hidden), "self_attn.v_proj": (kv, hidden),
            "self_attn.o_proj": (hidden, q), "mlp.gate_proj": (mlp, hidden), "mlp.up_proj": (mlp, hidden),
            "mlp.down_proj": (hidden, mlp)}


def write_adapter(folder, model, rank):
    header, blobs, end = {}, [], 0
    for layer in range(model["layers"]):
        for module, (out, inputs) in linears(model).items():
            for part, shape in (("lora_A", [rank, inputs]), ("lora_B", [out, rank])):
                blob = random_f16(shape[0] * shape[1])
                name = f"base_model.model.model.layers.{layer}.{module}.{part}.weight"
                header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [end, end + len(blob)]}
                blobs.append(blob)
                end += len(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    os.makedirs(folder)
    with open(f"{folder}/adapter_model.safetensors", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text + b"".join(blobs))
    config = {"peft_type": "LORA", "r": rank, "lora_alpha": rank, "target_modules": "all-linear"}
    with open(f"{folder}/adapter_config.json", "w") as file:
        json.dump(config, file)


def request(index, prompt_words, output):
    words = [WORDS[(i * (index + 3)) % len(WORDS)] for i in range(prompt_words)]
    body = {"model": f"a{index}", "prompt": " ".join(words), "max_tokens": output, "temperature": 0, "ignore_eos": True}
    return {"custom_id": f"r{index}", "method": "POST", "url": "/v1/completions", "body": body}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chorus")
    parser.add_argument("model")
    for name, default in (("adapters", 8), ("rank", 16), ("prompt", 128), ("output", 100), ("threads", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    flags = parser.parse_args()
    model = json.loads(subprocess.check_output([flags.chorus, "inspect", flags.model, "--json"]))
    with tempfile.TemporaryDirectory() as work:
        for index in range(flags.adapters):
            write_adapter(f"{work}/adapters/a{index}", model, flags.rank)
        with open(f"{work}/in.jsonl", "w") as file:
            for index in range(flags.adapters):
                file.write(json.dumps(request(index, flags.prompt, flags.output)) + "\n")
        command = [flags.chorus, "batch", flags.model, f"{work}/in.jsonl", f"{work}/out.jsonl", "--adapters",
                   f"{work}/adapters", "--threads", str(flags.threads), "--compare"]
        sys.exit(subprocess.run(command).returncode)


if __name__ == "__main__":
    main()
