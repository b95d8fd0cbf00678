#!/usr/bin/env python3
"""Makes the first seeds of corpus/gguf_*, corpus/safetensors_header, corpus/json,
corpus/http_request and of the adapters."""

import json
import pathlib
import struct

HERE = pathlib.Path(__file__).parent / "corpus"
BLOCKS = {0: (1, 4), 1: (1, 2), 30: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 8: (32, 34), 12: (256, 144), 14: (256, 210)}


def save(target, name, data):
    folder = HERE / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


def string(text):
    return struct.pack("<Q", len(text)) + text


def key(name, kind, value):
    return string(name) + struct.pack("<I", kind) + value


def array(kind, count, value):
    return struct.pack("<IQ", kind, count) + value


def gguf(keys, tensors, data, version=3):
    head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), len(keys)) + b"".join(keys)
    for name, dims, kind, offset in tensors:
        head += string(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, offset)
    return head + b"\0" * (-len(head) % 32) + data


def gguf_seeds():
    one = struct.pack("<I", 1)
    keys = [
        key(b"general.alignment", 4, struct.pack("<I", 32)),
        key(b"general.name", 8, string(b"n")),
        key(b"f", 6, struct.pack("<f", 0.5)),
        key(b"d", 12, struct.pack("<d", 0.5)),
        key(b"b", 7, b"\1"),
        key(b"i", 5, struct.pack("<i", -1)),
        key(b"tokens", 9, array(8, 2, string(b"a") + string(b"\xff"))),
        key(b"types", 9, array(5, 2, one + one)),
        key(b"scores", 9, array(6, 1, struct.pack("<f", 1))),
        key(b"bools", 9, array(7, 2, b"\0\1")),
    ]
    save("gguf_header", "all_kinds", gguf(keys, [(b"w", (4,), 0, 0), (b"v", (2, 2), 1, 32)], b"\1" * 40))
    save("gguf_header", "no_tensors_v2", gguf(keys[1:2], [], b"", version=2))
    save("gguf_header", "huge_array", gguf([key(b"k", 9, array(10, 2**61, b""))], [], b""))
    save("gguf_header", "product_wraps", gguf([], [(b"w", (4194305, 4194305, 211106198978564), 0, 0)], b"\1" * 64))
    save("gguf_header", "overlap", gguf([], [(b"w", (9,), 0, 0), (b"v", (4,), 0, 32)], b"\1" * 64))
    for kind, (elements, size) in BLOCKS.items():
        save("gguf_load", f"type_{kind}", gguf([], [(b"w", (elements, 2), kind, 0)], bytes(range(1, size + 1)) * 2))


def safetensors(header, data=b"", pad=0):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) + pad) + text + b" " * pad + data


def tensor(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def other_seeds():
    two = {"__metadata__": {"format": "pt"}, "a": tensor("F32", [2], 0, 8), "b": tensor("BF16", [], 8, 10)}
    save("safetensors_header", "two", safetensors(two, b"\1" * 10, pad=3))
    save("safetensors_header", "empty", safetensors({}))
    save("safetensors_header", "wraps", safetensors({"a": tensor("F16", [2**32, 2**32, 2], 0, 0)}))
    save("safetensors_header", "deep", safetensors(b'{"a":' + b"[" * 3000))
    save("safetensors_header", "twice", safetensors(b'{"a":{"dtype":"F32","dtype":"F32"}}'))
    save("json", "kinds", b'{"a": [1, -2, 18446744073709551615, 1.5e-3, true, false, null], "\\u00e9\\n": {"x": ""}}')
    save("json", "twice", b'{"a": 1, "a": 2}')
    save("json", "deep", b"[" * 65 + b"]" * 65)
    save("json", "surrogates", b'["\\ud83d\\ude00", "\\ud83d"]')
    save("json", "large_number", b"[1e308, -0.0, 1e400]")


def http_seeds():
    """The first byte is the size of the pieces."""
    head = b"POST /v1/a%20b?c=d HTTP/1.1\r\nHost: localhost\r\n"
    save("http_request", "plain", b"\0" + head + b"Content-Length: 4\r\nConnection: close\r\n\r\nbodyGET")
    chunks = b"4;x=y\r\nbody\r\n0A\r\n0123456789\r\n0\r\nTrailer: t\r\n\r\n"
    save("http_request", "chunked", b"\3" + head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
    save("http_request", "http10", b"\1GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    save("http_request", "expect", b"\7" + head + b"Expect: 100-continue\r\nContent-Length: 1\r\n\r\n1")
    save("http_request", "both_lengths", b"\2" + head + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n")
    save("http_request", "folded", b"\4" + head + b"A: b\r\n c\r\n\r\n")
    save("http_request", "chunk_overflow", b"\5" + head + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\n")
    save("http_request", "preface", b"\0PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    save("http_request", "bare_lf", b"\0GET / HTTP/1.1\nHost: localhost\n\n")


def mlx_tensors(peft):
    """The tensors of a PEFT file as MLX names and turns them: transposed."""
    size = struct.unpack_from("<Q", peft)[0]
    header, data, out = json.loads(peft[8 : 8 + size]), peft[8 + size :], {}
    header.pop("__metadata__", None)
    turned = b""
    for name, tensor in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        (rows, cols), (begin, end) = tensor["shape"], tensor["data_offsets"]
        width = (end - begin) // (rows * cols)
        cells = [data[at : at + width] for at in range(begin, end, width)]
        turned += b"".join(cells[row * cols + col] for col in range(cols) for row in range(rows))
        short = name.removeprefix("base_model.model.").replace(".lora_A.weight", ".lora_a").replace(".lora_B.weight", ".lora_b")
        out[short] = {"dtype": tensor["dtype"], "shape": [cols, rows], "data_offsets": [begin, end]}
    text = json.dumps(out).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + turned


def adapter_seeds():
    golden = HERE.parent.parent / "golden" / "adapters"
    for name in ("qv", "layers", "rank1", "patterns"):
        config = json.loads((golden / name / "adapter_config.json").read_text())
        text = json.dumps({key: value for key, value in config.items() if value not in (None, False, {})})
        tensors = (golden / name / "adapter_model.safetensors").read_bytes()
        save("adapter_config", name, text.encode() + b"\0" + tensors)
    for name in ("qv", "layers"):
        tensors = (golden / name / "adapter_model.safetensors").read_bytes()
        config = {"fine_tune_type": "lora", "num_layers": 3, "lora_parameters": {"rank": 4, "scale": 2.0, "dropout": 0.0}}
        save("mlx_adapter", name, json.dumps(config).encode() + b"\0" + mlx_tensors(tensors))
    for name in ("qv", "layers", "rank1"):
        save("lora_load", name, (golden / f"{name}.gguf").read_bytes())


gguf_seeds()
other_seeds()
http_seeds()
adapter_seeds()
