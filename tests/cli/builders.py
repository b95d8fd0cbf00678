"""Model and adapter files byte by byte, right ones and others: struct and json only."""

import json
import math
import shutil
import struct

UINT8, INT8, UINT16, INT16, UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY, UINT64, INT64, FLOAT64 = range(13)
FORMATS = dict(zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIif?Qqd"))
F32, F16, Q4_0 = 0, 1, 2


def gguf_string(text):
    data = text if isinstance(text, bytes) else text.encode()
    return struct.pack("<Q", len(data)) + data


def gguf_value(kind, value):
    """The bytes of a value, without its type; an array is (element kind, list)."""
    if kind == STRING:
        return gguf_string(value)
    if kind == ARRAY:
        element, values = value
        head = struct.pack("<IQ", element, len(values))
        if element in FORMATS:
            return head + struct.pack(f"<{len(values)}{FORMATS[element]}", *values)
        return head + b"".join(gguf_value(element, item) for item in values)
    return struct.pack("<" + FORMATS[kind], value)


class Tensor:
    """A tensor of a GGUF file; `dims` are innermost first."""

    def __init__(self, name, dims, kind, data, offset=None):
        self.name, self.dims, self.kind, self.data, self.offset = name, list(dims), kind, data, offset


class Gguf:
    """A GGUF file in pieces, each of which a test may change before it is packed."""

    def __init__(self, keys=(), tensors=()):
        self.magic, self.version, self.alignment = b"GGUF", 3, 32
        self.keys = dict(keys)  # name: (kind, value)
        self.tensors = list(tensors)
        self.key_count = self.tensor_count = None  # None: as many as there are
        self.raw_keys = b""  # after the others
        self.raw_key_count = 0

    def tensor(self, name):
        return next(t for t in self.tensors if t.name == name)

    def header(self):
        keys = self.key_count if self.key_count is not None else len(self.keys) + self.raw_key_count
        tensors = self.tensor_count if self.tensor_count is not None else len(self.tensors)
        out = self.magic + struct.pack("<IQQ", self.version, tensors, keys)
        for name, (kind, value) in self.keys.items():
            out += gguf_string(name) + struct.pack("<I", kind) + gguf_value(kind, value)
        out += self.raw_keys
        offset = 0
        for tensor in self.tensors:
            place = tensor.offset if tensor.offset is not None else offset
            out += gguf_string(tensor.name) + struct.pack("<I", len(tensor.dims))
            out += b"".join(struct.pack("<Q", dim & (2**64 - 1)) for dim in tensor.dims)
            out += struct.pack("<IQ", tensor.kind, place)
            offset += padded(len(tensor.data), self.alignment)
        return out

    def pack(self):
        out = bytearray(self.header())
        out += bytes(-len(out) % self.alignment)
        for tensor in self.tensors:
            out += tensor.data + bytes(-len(tensor.data) % self.alignment)
        return bytes(out)


def padded(size, alignment):
    return math.ceil(size / alignment) * alignment


class Reader:
    """Reads what a right GGUF file holds."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, layout):
        values = struct.unpack_from("<" + layout, self.data, self.at)
        self.at += struct.calcsize("<" + layout)
        return values if len(values) > 1 else values[0]

    def string(self):
        size = self.take("Q")
        self.at += size
        return self.data[self.at - size : self.at].decode()

    def value(self, kind):
        if kind == STRING:
            return self.string()
        if kind == ARRAY:
            element, count = self.take("IQ")
            return element, [self.value(element) for _ in range(count)]
        return self.take(FORMATS[kind])


def read_keys(reader):
    """The keys of a right GGUF file and the number of its tensors, whose descriptions the reader is then at."""
    reader.at = 4
    _, tensor_count, key_count = reader.take("IQQ")
    keys = {}
    for _ in range(key_count):
        name, kind = reader.string(), reader.take("I")
        keys[name] = (kind, reader.value(kind))
    return keys, tensor_count


def read_gguf(data):
    """A Gguf of these bytes; tensors keep their places in the file, so their order and sizes must stay."""
    reader = Reader(data)
    keys, tensor_count = read_keys(reader)
    file = Gguf(keys)
    places = []
    for _ in range(tensor_count):
        name = reader.string()
        dims = [reader.take("Q") for _ in range(reader.take("I"))]
        kind, offset = reader.take("IQ")
        places.append((name, dims, kind, offset))
    start = padded(reader.at, file.alignment)
    ends = [place[3] for place in places[1:]] + [len(data) - start]
    for (name, dims, kind, offset), end in zip(places, ends):
        size = tensor_bytes(dims, kind)
        assert offset + size <= end
        file.tensors.append(Tensor(name, dims, kind, data[start + offset : start + offset + size]))
    return file


def tensor_bytes(dims, kind):
    elements, size = {F32: (1, 4), F16: (1, 2), Q4_0: (32, 18)}[kind]
    return math.prod(dims) // elements * size


def vocabulary(size):
    """Byte-level tokens: <s>, </s>, the printable letters (U+0120 is a space), and fillers."""
    letters = ["\u0120", *map(chr, range(33, 127))]
    tokens = ["<s>", "</s>", *letters]
    return tokens + [f"<filler{i}>" for i in range(size - len(tokens))]


def tiny_model(golden):
    """A golden GGUF model with a tokenizer."""
    file = read_gguf(golden)
    tokens = vocabulary(160)
    del file.keys["tokenizer.ggml.model"]
    file.keys |= {
        "tokenizer.ggml.model": (STRING, "gpt2"),
        "tokenizer.ggml.pre": (STRING, "gpt-2"),
        "tokenizer.ggml.tokens": (ARRAY, (STRING, tokens)),
        "tokenizer.ggml.token_type": (ARRAY, (INT32, [3, 3] + [1] * (len(tokens) - 2))),
        "tokenizer.ggml.merges": (ARRAY, (STRING, [])),
        "tokenizer.ggml.bos_token_id": (UINT32, 0),
        "tokenizer.ggml.eos_token_id": (UINT32, 1),
    }
    return file


def tokenizer_json(size=160):
    """The same vocabulary in Hugging Face's form."""
    tokens = vocabulary(size)
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": i, "content": tokens[i], **special} for i in range(2)],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": {"type": "BPE", "vocab": {token: i for i, token in enumerate(tokens)}, "merges": []},
    }


def write_directory(folder, golden):
    """A golden Hugging Face model with a tokenizer."""
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(golden / name, folder)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer_json()))


def safetensors(header, data=b"", length=None):
    """`header` as an object or as bytes; `length` overrides what the file says of its size."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def read_safetensors(data):
    """(header, data) of a right file."""
    (size,) = struct.unpack_from("<Q", data)
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def with_header(path, change):
    """Rewrites a safetensors file with its header changed by `change(header)`."""
    header, data = read_safetensors(path.read_bytes())
    path.write_bytes(safetensors(change(header) or header, data))


def with_json(path, change):
    """Rewrites a JSON file, its document changed by `change(document)`."""
    document = json.loads(path.read_text())
    path.write_text(json.dumps(change(document) or document))
