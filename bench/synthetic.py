#!/usr/bin/env python3
"""Writes models and adapters as GGUF for measurements of speed, where the values don't matter.

usage: synthetic.py base SHAPE OUT.gguf TOKENIZER.gguf   a base with Q4_0 linears and the tokenizer of another file
       synthetic.py lora MODEL.gguf OUT.gguf RANK SEED   an adapter on all linears of a model

SHAPE is 135m, 1b or 3b: those of SmolLM2-135M, Llama-3.2-1B and Llama-3.2-3B. Needs nothing but Python.
"""
import pathlib
import random
import struct
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests" / "cli"))
import builders  # noqa: E402  (the GGUF format, byte by byte)

SHAPES = {  # hidden, layers, heads, kv heads, head dim, mlp, vocab
    "135m": (576, 30, 9, 3, 64, 1536, 49152),
    "1b": (2048, 16, 32, 8, 64, 8192, 128256),
    "3b": (3072, 28, 24, 8, 128, 8192, 128256),
}
F32, F16, Q4_0, Q8_0 = 0, 1, 2, 8
BLOCK = {Q4_0: (32, 18), Q8_0: (32, 34)}  # elements, bytes: an f16 scale and the quants


class Repeated:
    """`size` bytes that repeat a piece, from some place on: a tensor without the memory of one."""

    def __init__(self, piece, size, step, index):
        self.piece, self.size = piece, size
        self.start = index * 37 * step % len(piece)  # a whole number of blocks

    def __len__(self):
        return self.size

    def write(self, file):
        file.write(self.piece[self.start : self.start + self.size])
        left = self.size - min(self.size, len(self.piece) - self.start)
        while left > 0:
            file.write(self.piece[:left])
            left -= min(left, len(self.piece))


def random_blocks(kind, scale, rng, count=1 << 16):
    """Blocks of random quants with one scale."""
    size = BLOCK[kind][1]
    data = bytearray(rng.randbytes(count * size))
    low, high = struct.pack("<e", scale)
    data[0::size] = bytes([low]) * count
    data[1::size] = bytes([high]) * count
    return bytes(data)


def random_halves(rng, count=1 << 20):
    """Half floats of any sign and mantissa with exponents around 2^-7."""
    data = bytearray(rng.randbytes(2 * count))
    data[1::2] = data[1::2].translate(bytes((b & 0x83) | 0x20 for b in range(256)))
    return bytes(data)


def linears(hidden, heads, kv_heads, dim, mlp):
    """[out, in] of a layer's linears."""
    q, kv = heads * dim, kv_heads * dim
    return {"attn_q": (q, hidden), "attn_k": (kv, hidden), "attn_v": (kv, hidden), "attn_output": (hidden, q),
            "ffn_gate": (mlp, hidden), "ffn_up": (mlp, hidden), "ffn_down": (hidden, mlp)}


def write(path, keys, tensors):
    """tensors: Tensors whose data are bytes or Repeated."""
    file = builders.Gguf(keys, tensors)
    with open(path, "wb") as out:
        header = file.header()
        out.write(header + bytes(-len(header) % file.alignment))
        for tensor in tensors:
            if isinstance(tensor.data, Repeated):
                tensor.data.write(out)
            else:
                out.write(tensor.data)
            out.write(bytes(-len(tensor.data) % file.alignment))


def read_keys(path):
    """The keys of a GGUF file: they lie at its beginning."""
    with open(path, "rb") as file:
        return builders.read_keys(builders.Reader(file.read(64 << 20)))[0]


def tokenizer_keys(path, vocab):
    """The tokenizer of that file, with fillers up to `vocab` tokens."""
    keys = {name: value for name, value in read_keys(path).items() if name.startswith("tokenizer.")}
    kind, (element, tokens) = keys["tokenizer.ggml.tokens"]
    fillers = [f"[PAD{i}]" for i in range(len(tokens), vocab)]
    keys["tokenizer.ggml.tokens"] = (kind, (element, tokens + fillers))
    kind, (element, types) = keys["tokenizer.ggml.token_type"]
    keys["tokenizer.ggml.token_type"] = (kind, (element, types + [5] * len(fillers)))  # 5: unused
    return keys


def base(shape, out, tokenizer):
    hidden, layers, heads, kv_heads, dim, mlp, vocab = SHAPES[shape]
    number = lambda value: (builders.UINT32, value)
    keys = {"general.architecture": (builders.STRING, "llama"), "general.name": (builders.STRING, "synthetic-" + shape),
            "general.file_type": number(2), "llama.context_length": number(8192),
            "llama.embedding_length": number(hidden), "llama.block_count": number(layers),
            "llama.feed_forward_length": number(mlp), "llama.attention.head_count": number(heads),
            "llama.attention.head_count_kv": number(kv_heads), "llama.rope.dimension_count": number(dim),
            "llama.vocab_size": number(vocab), "llama.rope.freq_base": (builders.FLOAT32, 500000.0),
            "llama.attention.layer_norm_rms_epsilon": (builders.FLOAT32, 1e-5), **tokenizer_keys(tokenizer, vocab)}
    rng = random.Random(1)
    ones = struct.pack("<f", 1) * hidden
    pieces = {}
    tensors = []

    def add(name, rows, cols, kind, scale):
        if (kind, scale) not in pieces:
            pieces[kind, scale] = random_blocks(kind, scale, rng)
        elements, size = BLOCK[kind]
        data = Repeated(pieces[kind, scale], rows * cols // elements * size, size, len(tensors))
        tensors.append(builders.Tensor(name, [cols, rows], kind, data))

    add("token_embd.weight", vocab, hidden, Q8_0, 0.02 / 74)
    tensors.append(builders.Tensor("output_norm.weight", [hidden], F32, ones))
    for layer in range(layers):
        for norm in ("attn_norm", "ffn_norm"):
            tensors.append(builders.Tensor(f"blk.{layer}.{norm}.weight", [hidden], F32, ones))
        for name, (rows, cols) in linears(hidden, heads, kv_heads, dim, mlp).items():
            add(f"blk.{layer}.{name}.weight", rows, cols, Q4_0, cols**-0.5 / 4.6)
    write(out, keys, tensors)


def lora(model, out, rank, seed):
    keys = read_keys(model)
    get = lambda name: keys["llama." + name][1]
    hidden, heads, kv_heads = get("embedding_length"), get("attention.head_count"), get("attention.head_count_kv")
    shapes = linears(hidden, heads, kv_heads, get("rope.dimension_count"), get("feed_forward_length"))
    piece = random_halves(random.Random(seed))
    tensors = []

    def add(name, rows, cols):
        tensors.append(builders.Tensor(name, [cols, rows], F16, Repeated(piece, 2 * rows * cols, 2, len(tensors))))

    for layer in range(get("block_count")):
        for name, (rows, cols) in shapes.items():
            add(f"blk.{layer}.{name}.weight.lora_a", rank, cols)
            add(f"blk.{layer}.{name}.weight.lora_b", rows, rank)
    keys = {"general.architecture": (builders.STRING, "llama"), "general.type": (builders.STRING, "adapter"),
            "adapter.type": (builders.STRING, "lora"), "adapter.lora.alpha": (builders.FLOAT32, float(rank))}
    write(out, keys, tensors)


def main():
    match sys.argv[1:]:
        case ["base", shape, out, tokenizer] if shape in SHAPES:
            base(shape, out, tokenizer)
        case ["lora", model, out, rank, seed]:
            lora(model, out, int(rank), int(seed))
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
