"""The malformed model files: each is a right tiny model with one thing wrong.

A case gives the path to hand to the program, the file at fault, and what the one line of the error must say.
"""

import dataclasses
import json
import pathlib
import struct

import builders
from builders import ARRAY, BOOL, FLOAT32, FLOAT64, INT32, STRING, UINT32, UINT64, UINT8, gguf_string

MIB = 1 << 20


@dataclasses.dataclass
class Case:
    """`says` must all occur in the error; `max_rss` allows for a file that is itself large."""

    path: pathlib.Path
    file: pathlib.Path
    says: tuple
    max_rss: int = 64 * MIB


GGUF_CASES = {}
DIRECTORY_CASES = {}


def gguf_case(name, *says, max_rss=64 * MIB):
    """Registers a change of the tiny GGUF; it returns the file's bytes, or None where it changed `file`."""

    def register(change):
        def build(folder, golden):
            path = folder / "model.gguf"
            file = builders.tiny_model(golden)
            data = change(file)
            path.write_bytes(file.pack() if data is None else data)
            return Case(path, path, says, max_rss)

        GGUF_CASES[name] = build

    return register


def key_case(name, key, kind, value, says=None):
    """One key of another value or type."""

    @gguf_case(name, says or key)
    def change(file):
        file.keys[key] = (kind, value)


def without_key(key):
    @gguf_case(f"no {key}", key)
    def change(file):
        del file.keys[key]


def raw_key_case(name, data, *says):
    """One more key, of these bytes."""

    @gguf_case(name, *says)
    def change(file):
        file.raw_keys, file.raw_key_count = data, 1


def field_case(name, field, value, *says):
    """A field of the header."""

    @gguf_case(name, *says)
    def change(file):
        setattr(file, field, value)


def tensor_case(name, tensor="blk.1.attn_q.weight", says=None, **fields):
    """A field of a tensor's description."""

    @gguf_case(name, *(says or (tensor,)))
    def change(file):
        for field, value in fields.items():
            setattr(file.tensor(tensor), field, value)


field_case("1 bad magic", "magic", b"GGML", "GGUF")
for version in (0, 1, 99, 0x03000000):
    field_case(f"2 version {version}", "version", version, "version")


@gguf_case("3 four bytes")
def _(file):
    return b"GGUF"


for count in (2**32 - 1, 2**63, 2**64 - 1):
    field_case(f"5-6 key count {count}", "key_count", count, "key")
for count in (2**61, 2**64 - 1, 2**32):
    field_case(f"7-8 tensor count {count}", "tensor_count", count, "tensor")
raw_key_case("9 key length 2^64-1", struct.pack("<Q", 2**64 - 1) + b"abc", "key")
raw_key_case("10 key as long as the file", struct.pack("<Q", 70000) + b"abc", "key")
raw_key_case("11 empty key", gguf_string("") + struct.pack("<IB", UINT8, 1), "key")
raw_key_case("12 key twice", gguf_string("llama.block_count") + struct.pack("<II", UINT32, 3), "llama.block_count")
raw_key_case("13 unknown value type", gguf_string("bad.type") + struct.pack("<I", 99), "bad.type")
raw_key_case(
    "14 arrays 1000 deep", gguf_string("deep") + struct.pack("<I", ARRAY) + struct.pack("<IQ", ARRAY, 1) * 1000, "deep"
)
for element in (UINT8, STRING, UINT64, ARRAY):
    raw_key_case(
        f"15 array of 2^61 elements of type {element}",
        gguf_string("long.array") + struct.pack("<IIQ", ARRAY, element, 2**61),
        "long.array",
    )
raw_key_case("16 string with NUL", gguf_string("nul") + struct.pack("<I", STRING) + gguf_string("a\0b"), "nul")
raw_key_case(
    "16 string not UTF-8", gguf_string("latin") + struct.pack("<I", STRING) + gguf_string(b"\xff\xfe"), "latin"
)
raw_key_case("16 key with a line break", gguf_string("a\nb: c") + struct.pack("<I", 99), "a\\x0ab")
raw_key_case("16 key not UTF-8", gguf_string(b"k\xff") + struct.pack("<IB", UINT8, 1), "key")
raw_key_case("bool of 2", gguf_string("a.bool") + struct.pack("<IB", BOOL, 2), "a.bool")
for value in (0, 3, 2**31):
    key_case(f"17 alignment {value}", "general.alignment", UINT32, value)
key_case("17 alignment a string", "general.alignment", STRING, "32")
key_case("17 alignment -32", "general.alignment", INT32, -32)


@gguf_case("18 tensor name twice", "blk.0.attn_q.weight")
def _(file):
    file.tensor("blk.1.attn_q.weight").name = "blk.0.attn_q.weight"


tensor_case("19 no dimensions", dims=[])
tensor_case("19 five dimensions", dims=[64, 64, 1, 1, 1])


@gguf_case("19 2^32-1 dimensions", "attn_q")
def _(file):
    data = bytearray(file.pack())
    at = data.index(b"blk.0.attn_q.weight") + len("blk.0.attn_q.weight")
    data[at : at + 4] = b"\xff" * 4
    return bytes(data)


tensor_case("20 dimension 0", dims=[64, 0])
tensor_case("20 dimension -1", dims=[64, -1])
tensor_case("20 dimension 2^42+1", dims=[64, 2**42 + 1])
tensor_case("20 product wraps", dims=[4194304, 4194305, 211106198978564])
tensor_case("21 size wraps with padding", dims=[2**62 - 32, 2, 2, 2])
tensor_case("22 unknown tensor type", kind=99)
tensor_case("22 row no multiple of a block", dims=[63, 64])
tensor_case("23 offset not aligned", offset=33)
tensor_case("23 overlap", offset=0)
tensor_case("23 offset beyond the file", offset=1 << 40)
tensor_case("23 offset 2^63", offset=1 << 63)
tensor_case("23 offset wraps", offset=2**64 - 32)


@gguf_case("24 one byte short", "rope_freqs.weight")
def _(file):
    last = file.tensors[-1]
    data = file.pack()
    return data[: len(data) - (-len(last.data) % 32) - 1]


key_case("25 scores of one byte", "tokenizer.ggml.scores", ARRAY, (UINT8, [1] * 160))
key_case("26 types that are strings", "tokenizer.ggml.token_type", ARRAY, (STRING, ["1"] * 160))
for text in ("<0x-1>", "<0xZZ>", "<0x100>"):

    @gguf_case(f"26 byte token {text}", "tokenizer.ggml.tokens")
    def _(file, text=text):
        tokens = builders.vocabulary(160)
        tokens[150] = text
        file.keys["tokenizer.ggml.tokens"] = (ARRAY, (STRING, tokens))
        file.keys["tokenizer.ggml.token_type"] = (ARRAY, (INT32, [1] * 150 + [6] + [1] * 9))


key_case("27 no tokens", "tokenizer.ggml.tokens", ARRAY, (STRING, []))


@gguf_case("27 more tokens than rows", "161", "160")
def _(file):
    del file.keys["tokenizer.ggml.token_type"]
    file.keys["tokenizer.ggml.tokens"] = (ARRAY, (STRING, builders.vocabulary(161)))


key_case("27 an empty token", "tokenizer.ggml.tokens", ARRAY, (STRING, builders.vocabulary(159) + [""]))
key_case("27 a token twice", "tokenizer.ggml.tokens", ARRAY, (STRING, builders.vocabulary(159) + ["a"]))
key_case("27 bos 2^31", "tokenizer.ggml.bos_token_id", UINT32, 2**31)
key_case("27 eos -1", "tokenizer.ggml.eos_token_id", INT32, -1)
key_case("27 unknown tokenizer", "tokenizer.ggml.model", STRING, "rwkv")
key_case("27 unknown pre-tokenizer", "tokenizer.ggml.pre", STRING, "no such")
for key in (
    "llama.block_count",
    "llama.embedding_length",
    "llama.attention.head_count",
    "llama.feed_forward_length",
    "llama.context_length",
):
    named = key if key != "llama.context_length" else "context"
    for kind, value in ((UINT32, 0), (INT32, -1), (UINT32, 10**9), (UINT64, 2**63), (STRING, "3"), (FLOAT32, 1.5)):
        key_case(f"28 {key} {value} as type {kind}", key, kind, value, named)
    if key != "llama.context_length":
        without_key(key)
key_case("28 heads that do not divide", "llama.attention.head_count", UINT32, 3, "attention heads")
key_case("28 more kv heads than heads", "llama.attention.head_count_kv", UINT32, 8, "key-value heads")
key_case("28 no kv heads", "llama.attention.head_count_kv", UINT32, 0, "key-value heads")
for value in (float("nan"), float("inf"), -1.0):
    key_case(f"28 norm epsilon {value}", "llama.attention.layer_norm_rms_epsilon", FLOAT32, value, "epsilon")
    key_case(f"28 rope base {value}", "llama.rope.freq_base", FLOAT64, value)
key_case("28 rope base 0", "llama.rope.freq_base", FLOAT32, 0.0)
key_case("28 rope dimensions", "llama.rope.dimension_count", UINT32, 10**6)
key_case("28 unknown architecture", "general.architecture", STRING, "no\nsuch")
without_key("general.architecture")
key_case("28 an adapter", "general.type", STRING, "adapter", "type")

for value, name in ((b"\x00\x7e", "NaN"), (b"\x00\x7c", "infinite")):

    @gguf_case(f"29 {name} scale", "blk.1.attn_q.weight")
    def _(file, value=value):
        tensor = file.tensor("blk.1.attn_q.weight")
        tensor.data = value + tensor.data[2:]


@gguf_case("29 NaN norm", "output_norm.weight")
def _(file):
    tensor = file.tensor("output_norm.weight")
    tensor.data = struct.pack("<f", float("nan")) + tensor.data[4:]


@gguf_case("30 template of 64 MiB", "tokenizer.chat_template")
def _(file):
    file.keys["tokenizer.chat_template"] = (STRING, "{{ 1 }}" * (64 * MIB // 7))


@gguf_case("30 template that is none", "chat template")
def _(file):
    file.keys["tokenizer.chat_template"] = (STRING, "{% for %}\n{{")


@gguf_case("30 template 100,000 deep", "chat template")
def _(file):
    file.keys["tokenizer.chat_template"] = (STRING, "{{ " + "(" * 100000 + "1" + ")" * 100000 + " }}")


key_case("31 merge of no tokens", "tokenizer.ggml.merges", ARRAY, (STRING, ["xy zq"]))
key_case("31 merge without a space", "tokenizer.ggml.merges", ARRAY, (STRING, ["ab"]))
key_case("31 merges that are numbers", "tokenizer.ggml.merges", ARRAY, (UINT32, [1]))


@gguf_case("missing tensor", "blk.1.attn_q.weight")
def _(file):
    file.tensors.remove(file.tensor("blk.1.attn_q.weight"))


@gguf_case("tensor of no place", "surplus.weight")
def _(file):
    file.tensors.append(builders.Tensor("surplus.weight", [4], builders.F32, bytes(16)))


@gguf_case("transposed tensor", "blk.1.ffn_up.weight")
def _(file):
    file.tensor("blk.1.ffn_up.weight").dims.reverse()


def directory_case(name, file, *says, max_rss=64 * MIB):
    """Registers a change of the tiny directory's `file`, whose path the change is given."""

    def register(change):
        def build(folder, golden):
            path = folder / "model"
            builders.write_directory(path, golden)
            change(path / file)
            return Case(path, path / file, says, max_rss)

        DIRECTORY_CASES[name] = build

    return register


def weights_case(name, *says, max_rss=64 * MIB):
    """Registers a change of the safetensors header, which may return another, or bytes."""

    def register(change):
        directory_case(name, "model.safetensors", *says, max_rss=max_rss)(
            lambda path: builders.with_header(path, change)
        )

    return register


def tensor_field_case(name, field, value, says=None):
    tensor = "model.layers.1.self_attn.q_proj.weight"

    @weights_case(name, says or tensor)
    def change(header):
        header[tensor][field] = value


def length_case(length):
    @directory_case(f"32 header length {length}", "model.safetensors", "header")
    def change(path):
        data = path.read_bytes()
        path.write_bytes(struct.pack("<Q", length) + data[8:])


for length in (0, 2**64 - 1, 2**63, 10**9, 101 * 10**6):
    length_case(length)


@directory_case("32 three bytes", "model.safetensors")
def _(path):
    path.write_bytes(b"abc")


@weights_case("33 not JSON")
def _(header):
    return b"pickle" * 20


@weights_case("33 byte order mark")
def _(header):
    return b"\xef\xbb\xbf" + json.dumps(header).encode()


@weights_case("33 trailing bytes")
def _(header):
    return json.dumps(header).encode() + b" x"


@weights_case("33 a list")
def _(header):
    return b"[1, 2]"


@weights_case("34 100,000 tensors", "tensor")
def _(header):
    return {f"t{i}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for i in range(100000)}


@weights_case("35 tensor twice", "model.norm.weight")
def _(header):
    text = json.dumps(header)
    one = json.dumps({"model.norm.weight": header["model.norm.weight"]})[1:-1]
    return (text[:-1] + ", " + one + "}").encode()


for name, offsets in {
    "end before begin": [16, 8],
    "negative": [-8, 8],
    "beyond the file": [0, 1 << 40],
    "of 2^64": [0, 2**64],
    "overlap": [0, 8192],
    "one number": [0],
    "strings": ["0", "8192"],
    "fractions": [0.5, 8192.5],
}.items():
    tensor_field_case(f"36 offsets {name}", "data_offsets", offsets, "overlap" if name == "overlap" else None)
tensor_field_case("37 shape of other size", "shape", [64, 63])
tensor_field_case("38 shape wraps", "shape", [2**32, 2**32, 2])
tensor_field_case("38 negative shape", "shape", [-64, -64])
tensor_field_case("39 unknown type", "dtype", "F4_E2M1")
tensor_field_case("39 type no string", "dtype", 7)
tensor_field_case("39 transposed", "shape", [4096])


@weights_case("40 metadata of 50 MB", max_rss=400 * MIB)
def _(header):
    header["__metadata__"] = {"a": "x" * 50_000_000, "b": 3}


@weights_case("40 metadata no string", "__metadata__")
def _(header):
    header["__metadata__"] = {"format": 7}


@weights_case("41 nested 10,000 deep", "tensor a")
def _(header):
    return b'{"a":' + b"[" * 10000 + b"]" * 10000 + b"}"


@weights_case("a gap", "model.safetensors")
def _(header):
    del header["model.layers.1.self_attn.q_proj.weight"]


def config_case(name, field, value, says=None):
    @directory_case(f"config.json: {name}", "config.json", says or field)
    def change(path):
        builders.with_json(path, lambda config: config.update({field: value}))


for field in ("hidden_size", "num_attention_heads", "num_hidden_layers", "intermediate_size", "vocab_size"):
    for value in (0, -1, 10**9, 2**63, "64", 1.5, None, [64]):
        config_case(f"{field} {value}", field, value)
config_case("heads that do not divide", "num_attention_heads", 3, "attention heads")
config_case("kv heads", "num_key_value_heads", 3, "key-value heads")
config_case("epsilon", "rms_norm_eps", "small")
config_case("epsilon -1", "rms_norm_eps", -1)
config_case("activation", "hidden_act", "no such")
config_case("architecture", "model_type", "mamba")
config_case("rope", "rope_parameters", {"rope_type": "no such", "rope_theta": 10000})
config_case("rope theta", "rope_parameters", {"rope_type": "default", "rope_theta": 0})
config_case("biases", "attention_bias", True)


@directory_case("config.json: none", "config.json")
def _(path):
    path.unlink()


@directory_case("config.json: a list", "config.json", "object")
def _(path):
    path.write_text("[]")


@directory_case("config.json: nested", "config.json")
def _(path):
    path.write_text('{"a":' * 100000)


@directory_case("config.json: key twice", "config.json", "hidden_size")
def _(path):
    path.write_text(path.read_text().rstrip()[:-1] + ', "hidden_size": 64}')


def tokenizer_case(name, *says):
    def register(change):
        directory_case(f"tokenizer.json: {name}", "tokenizer.json", *says)(
            lambda path: builders.with_json(path, change)
        )

    return register


@directory_case("tokenizer.json: none", "tokenizer.json")
def _(path):
    path.unlink()


@directory_case("tokenizer.json: cut", "tokenizer.json")
def _(path):
    path.write_bytes(path.read_bytes()[:1000])


@tokenizer_case("a list")
def _(document):
    return [1]


@tokenizer_case("no model", "model")
def _(document):
    del document["model"]


@tokenizer_case("unknown model", "type")
def _(document):
    document["model"]["type"] = "Neural"


@tokenizer_case("id -1", "vocab")
def _(document):
    document["model"]["vocab"]["a"] = -1


@tokenizer_case("id 10^9", "vocab")
def _(document):
    document["model"]["vocab"]["a"] = 10**9


@directory_case("tokenizer.json: id beyond the rows", ".", "161", "160")
def _(path):
    builders.with_json(path / "tokenizer.json", lambda document: document["model"]["vocab"].update(zzz=160))


@tokenizer_case("id twice", "vocab")
def _(document):
    document["model"]["vocab"]["a"] = 66


@tokenizer_case("merge of no tokens", "merges")
def _(document):
    document["model"]["merges"] = [["qq", "zz"]]


@tokenizer_case("merges a number", "merges")
def _(document):
    document["model"]["merges"] = 7


@tokenizer_case("a regex that is none", "pre_tokenizer")
def _(document):
    document["pre_tokenizer"] = {"type": "Split", "pattern": {"Regex": "((("}, "behavior": "Isolated", "invert": False}


@tokenizer_case("unknown normalizer", "normalizer")
def _(document):
    document["normalizer"] = {"type": "Bert"}
