#!/usr/bin/env python3
"""Makes tests/golden/formats/: small files of the reference packages (gguf, safetensors) for formats_golden_test.

  make_formats.py              writes the files
  make_formats.py --check DIR  reads what the test wrote with our writers (ours.gguf, ours.safetensors in DIR)
                               with the reference packages, and compares it with the golden files
"""

import pathlib
import sys

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType as Q
from safetensors import safe_open
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).parent / "formats"
ROWS, COLUMNS = 8, 256
QUANTIZED = [Q.F16, Q.BF16, Q.Q4_0, Q.Q4_1, Q.Q5_0, Q.Q8_0]  # those whose bytes our quantizer must equal


def make_values(rng):
    """Rows that are easy and rows that are not: outliers, zeros, one sign, constants, very small and large."""
    values = rng.normal(0, 0.02, (ROWS, COLUMNS)).astype(np.float32)
    values[1, ::37] *= 40
    values[2] = np.abs(values[2])
    values[3] = -np.abs(values[3])
    values[4, :64] = 0
    values[4, 64:128] = 0.375
    values[4, 128:192] = -0.375
    values[5] *= np.float32(1e-6)
    values[6] *= np.float32(1e5)
    values[7] = np.round(values[7] * 200) / 8  # many exact halves
    return values


def random_blocks(rng, quant):
    """Blocks with every quant and sub-scale, and a sensible F16 scale."""
    elements, size = gguf.GGML_QUANT_SIZES[quant]
    blocks = rng.integers(0, 256, (ROWS * COLUMNS // elements, size), dtype=np.uint8)
    scale = rng.normal(0, 0.01, (len(blocks), 2)).astype(np.float16).view(np.uint8)
    if quant == Q.Q4_K:
        blocks[:, :4] = scale
    else:
        blocks[:, 208:] = scale[:, :2]
    return blocks.reshape(ROWS, -1)


def add_metadata(writer):
    writer.add_name("golden")
    writer.add_uint8("t.uint8", 255)
    writer.add_int8("t.int8", -128)
    writer.add_uint16("t.uint16", 65535)
    writer.add_int16("t.int16", -32768)
    writer.add_uint32("t.uint32", 2**32 - 1)
    writer.add_int32("t.int32", -(2**31))
    writer.add_uint64("t.uint64", 2**63 - 1)
    writer.add_int64("t.int64", -(2**63))
    writer.add_float32("t.float32", 0.5)
    writer.add_float64("t.float64", 1e300)
    writer.add_bool("t.bool", True)
    writer.add_string("t.string", "caf\u00e9 \U0001F600")
    writer.add_array("t.integers", [1, -2, 3])
    writer.add_array("t.numbers", [0.5, -1.5])
    writer.add_array("t.strings", ["", "a", "\u00e9"])
    writer.add_array("t.bools", [True, False])


def make():
    rng = np.random.default_rng(20260)
    HERE.mkdir(exist_ok=True)
    values = make_values(rng)
    tensors = {"F32": (values, Q.F32)}
    for quant in QUANTIZED:
        # Row 6 is beyond what F16 holds.
        source = np.where(np.abs(values) > 60000, 0, values).astype(np.float32) if quant == Q.F16 else values
        tensors[quant.name] = (gguf.quants.quantize(source, quant), quant)
    for quant in [Q.Q4_K, Q.Q6_K]:
        tensors[quant.name] = (random_blocks(rng, quant), quant)

    writer = gguf.GGUFWriter(HERE / "quants.gguf", "golden")
    add_metadata(writer)
    expected = {}
    for name, (data, quant) in tensors.items():
        writer.add_tensor(name, data, raw_dtype=quant)
        expected[name] = torch.from_numpy(np.array(gguf.quants.dequantize(data, quant), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    save_file(expected, HERE / "quants.safetensors")

    plain = torch.from_numpy(values[:2, :48].copy())
    save_file(
        {"f32": plain, "f16": plain.half(), "bf16": plain.bfloat16(), "scalar": torch.tensor(2.5)},
        HERE / "plain.safetensors",
        metadata={"format": "pt", "note": 'caf\u00e9 "quoted"'},
    )


def check_equal(what, ours, golden):
    if not np.array_equal(np.asarray(ours), np.asarray(golden)):
        sys.exit(f"{what} differs")


def check(directory):
    ours, golden = (gguf.GGUFReader(d / n) for d, n in [(directory, "ours.gguf"), (HERE, "quants.gguf")])
    for a, b in zip(ours.tensors, golden.tensors, strict=True):
        check_equal(f"tensor {a.name}", (a.name, a.tensor_type), (b.name, b.tensor_type))
        check_equal(f"shape of {a.name}", a.shape, b.shape)
        check_equal(f"data of {a.name}", a.data, b.data)
    for key, field in golden.fields.items():
        if key.startswith("GGUF.") or key == "t.float64":  # ours writes FLOAT32
            continue
        check_equal(key, ours.fields[key].contents(), field.contents())
    ours, golden = (
        safe_open(d / n, "pt") for d, n in [(directory, "ours.safetensors"), (HERE, "plain.safetensors")]
    )
    check_equal("metadata", ours.metadata(), golden.metadata())
    check_equal("names", sorted(ours.keys()), sorted(golden.keys()))
    for name in golden.keys():
        a, b = ours.get_tensor(name), golden.get_tensor(name)
        if a.dtype != b.dtype or not torch.equal(a, b):
            sys.exit(f"tensor {name} differs")
    print("equal")


if len(sys.argv) == 3 and sys.argv[1] == "--check":
    check(pathlib.Path(sys.argv[2]))
else:
    make()
