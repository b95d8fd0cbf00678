#!/usr/bin/env python3
"""Makes the first seeds of corpus/tokenizer_json: one small file a style."""

import json
import pathlib

HERE = pathlib.Path(__file__).parent / "corpus" / "tokenizer_json"
SPLIT = r"(?i:'s|'ll)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s+(?!\S)|\s+"
BOS = {"id": 9, "content": "<s>", "special": True, "normalized": False, "lstrip": True}
MODEL = {"type": "BPE", "vocab": {"a": 0, "b": 1, "ab": 2, "\u0120": 3, "1": 4}, "merges": ["a b"], "ignore_merges": True}
PIECES = {"type": "BPE", "unk_token": "<unk>", "byte_fallback": True, "fuse_unk": True,
          "vocab": {"<unk>": 0, "<0x0A>": 1, "\u2581": 2, "a": 3, "\u2581a": 4}, "merges": [["\u2581", "a"]]}
STYLES = {
    "llama3": {"added_tokens": [BOS], "model": MODEL, "decoder": {"type": "ByteLevel"}, "pre_tokenizer": {
        "type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": SPLIT}, "behavior": "Isolated", "invert": False},
            {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}]}, "post_processor": {
        "type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}],
        "special_tokens": {"<s>": {"ids": [9]}}}},
    "smollm": {"model": MODEL, "normalizer": {"type": "NFC"}, "decoder": {"type": "ByteLevel"}, "pre_tokenizer": {
        "type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": True}, {"type": "ByteLevel"}]}},
    "llama2": {"added_tokens": [BOS], "model": PIECES, "normalizer": {"type": "Sequence", "normalizers": [
        {"type": "Prepend", "prepend": "\u2581"}, {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"},
            {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}},
    "metaspace": {"model": PIECES, "decoder": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first"},
                  "pre_tokenizer": {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first"}},
}

HERE.mkdir(parents=True, exist_ok=True)
for name, style in STYLES.items():
    (HERE / f"{name}.json").write_text(json.dumps(style, ensure_ascii=False))
