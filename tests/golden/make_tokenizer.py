"""Makes tests/golden/tokenizer/: small tokenizers in the styles of known models, and what `tokenizers` makes of
2,300 strings with them.

  make_tokenizer.py [SmolLM2.gguf]    with the file: also the ids of SmolLM2's real vocabulary (smollm2.ids.json)

Needs PyPI tokenizers 0.23 and gguf 0.19. Files: strings.json; per style NAME.json (tokenizer.json), NAME.config.json
(its tokenizer_config.json), NAME.ids.json and, where GGUF can say it, NAME.gguf. An ids file holds
  ids      one list a string
  plain    {string's index: ids with special tokens as text}, where they differ
  decoded  {string's index: decode(ids)}, where it differs from the string
  special  ids of string 10 with add_special_tokens
"""

import json
import pathlib
import sys

import gguf
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

import tokenizer_text

OUT = pathlib.Path(__file__).parent / "tokenizer"
VOCAB = 1600
BYTES = [f"<0x{b:02X}>" for b in range(256)]
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
          r"\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace("{1,3}", "")
CHATML = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def dump(name, value):
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    (OUT / name).write_text(text, encoding="utf-8")


def special(texts):
    return [AddedToken(t, special=True, normalized=False) for t in texts]


def train(pre_tokenizer, byte_level, normalizer=None, vocab=VOCAB):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    alphabet = pre_tokenizers.ByteLevel.alphabet() if byte_level else []
    trainer = trainers.BpeTrainer(vocab_size=vocab, initial_alphabet=alphabet, show_progress=False,
                                  limit_alphabet=420, max_token_length=24)
    tokenizer.train_from_iterator(tokenizer_text.corpus(), trainer)
    return tokenizer


def byte_level(pre, specials, normalizer=None, post=None, ignore_merges=False):
    tokenizer = train(pre, True, normalizer)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.add_special_tokens(special(specials))
    if ignore_merges:
        raw = json.loads(tokenizer.to_str())
        raw["model"]["ignore_merges"] = True
        # Without half of the merges, the flag decides about the tokens that they made.
        raw["model"]["merges"] = raw["model"]["merges"][::2]
        keep = raw["model"]["vocab"]
        raw["model"]["merges"] = [m for m in raw["model"]["merges"] if all(p in keep for p in m)]
        tokenizer = Tokenizer.from_str(json.dumps(raw))
    if post is not None:
        tokenizer.post_processor = post(tokenizer)
    return tokenizer


def template(first):
    def make(tokenizer):
        return processors.TemplateProcessing(single=f"{first} $A", special_tokens=[(first, tokenizer.token_to_id(first))])

    return make


def llama3():
    split = pre_tokenizers.Split(Regex(LLAMA3), "isolated")
    pre = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])

    def post(tokenizer):
        return processors.Sequence([processors.ByteLevel(trim_offsets=False), template("<|begin_of_text|>")(tokenizer)])

    return byte_level(pre, ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"], None, post, True)


def qwen2():
    split = pre_tokenizers.Split(Regex(QWEN2), "isolated")
    pre = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer = byte_level(pre, CHATML, normalizers.NFC())
    tokenizer.add_tokens([AddedToken("<tool_call>", normalized=False, special=False)])
    return tokenizer


def gpt2():
    return byte_level(pre_tokenizers.ByteLevel(add_prefix_space=False), ["<|endoftext|>"])


def smollm():
    digits = pre_tokenizers.Digits(individual_digits=True)
    return byte_level(pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)]), CHATML)


def mixed():
    """The flags of added tokens, and the pre-tokenizers and split behaviours that no model above uses."""
    pre = pre_tokenizers.Sequence([
        pre_tokenizers.Split("-", "merged_with_next"),
        pre_tokenizers.Split(Regex(r"[aeiou]"), "merged_with_previous"),
        pre_tokenizers.Split(Regex(r"\p{P}"), "contiguous"),
        pre_tokenizers.Split(Regex(r"[^=]+"), "removed", invert=True),
        pre_tokenizers.Split(Regex(r"x*"), "isolated"),
        pre_tokenizers.Digits(individual_digits=False),
        pre_tokenizers.WhitespaceSplit(),
        pre_tokenizers.ByteLevel(add_prefix_space=True),
    ])
    normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase(), normalizers.Strip(),
                                       normalizers.Replace(Regex(r"\s+"), " "), normalizers.Replace("&", "and")])
    tokenizer = byte_level(pre, ["<s>"], normalizer)
    tokenizer.add_tokens([
        AddedToken("[STRIP]", lstrip=True, rstrip=True, normalized=False),
        AddedToken("[LEFT]", lstrip=True, normalized=False),
        AddedToken("[RIGHT]", rstrip=True, normalized=False),
        AddedToken("word", single_word=True, normalized=False),
        AddedToken("\u017bnit", normalized=True),
        AddedToken("river", single_word=True, normalized=True),
    ])
    return tokenizer


def words():
    """Whitespace and NFD: text outside the vocabulary is lost or unknown."""
    tokenizer = train(pre_tokenizers.Whitespace(), False, normalizers.NFD(), 900)
    raw = json.loads(tokenizer.to_str())
    vocab = {"[UNK]": 0} | {t: i + 1 for i, t in enumerate(raw["model"]["vocab"])}
    raw["model"] |= {"vocab": vocab, "unk_token": "[UNK]", "fuse_unk": False}
    tokenizer = Tokenizer.from_str(json.dumps(raw))
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens(special(["[UNK]"]))
    return tokenizer


def scored_merges(vocab, ranked):
    """Every way to make a token of two, as SentencePiece merges and transformers converts it."""
    merges = []
    for token in ranked:
        local = [(token[:i], token[i:]) for i in range(1, len(token)) if token[:i] in vocab and token[i:] in vocab]
        merges += sorted(local, key=lambda pair: (vocab[pair[0]], vocab[pair[1]]))
    return merges


def sentencepiece(specials, normalizer, pre, decoder, first):
    trained = json.loads(train(pre_tokenizers.Metaspace(prepend_scheme="never"), False).to_str())
    learned = list(trained["model"]["vocab"])
    made = ["".join(m) for m in trained["model"]["merges"]]
    made += ["\u2581" * n for n in range(2, 17) if "\u2581" * n not in learned]
    chars = [t for t in learned if t not in made]
    vocab = {t: i for i, t in enumerate(specials + BYTES + made + chars)}
    model = {"type": "BPE", "unk_token": "<unk>", "byte_fallback": True, "fuse_unk": True, "ignore_merges": False,
             "vocab": vocab, "merges": scored_merges(vocab, made)}
    tokenizer = Tokenizer.from_str(json.dumps({"version": "1.0", "added_tokens": [], "model": model}))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    if pre is not None:
        tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoder
    tokenizer.add_special_tokens(special(specials))
    tokenizer.post_processor = template(first)(tokenizer)
    return tokenizer


def gemma():
    tokenizer = sentencepiece(
        ["<pad>", "<eos>", "<bos>", "<unk>", "<start_of_turn>", "<end_of_turn>"],
        normalizers.Replace(" ", "\u2581"), pre_tokenizers.Split(" ", "merged_with_previous"),
        decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse()]), "<bos>")
    tokenizer.add_tokens([AddedToken("\n" * n, normalized=False) for n in range(2, 6)])
    return tokenizer


def llama2():
    return sentencepiece(
        ["<unk>", "<s>", "</s>"],
        normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]), None,
        decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(),
                           decoders.Strip(" ", 1, 0)]), "<s>")


def mistral():
    metaspace = pre_tokenizers.Metaspace(prepend_scheme="first", split=True)
    decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="first"), decoders.Fuse()])
    return sentencepiece(["<unk>", "<s>", "</s>"], None, metaspace, decoder, "<s>")


def expect(name, tokenizer, strings):
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = False
    ids = [e.ids for e in tokenizer.encode_batch(strings, add_special_tokens=False)]
    with_special = tokenizer.encode(strings[10]).ids
    decoded = [tokenizer.decode(i, skip_special_tokens=True) for i in ids]
    tokenizer.encode_special_tokens = True
    plain = [e.ids for e in tokenizer.encode_batch(strings, add_special_tokens=False)]
    dump(f"{name}.ids.json", {
        "ids": ids,
        "plain": {str(i): p for i, p in enumerate(plain) if p != ids[i]},
        "decoded": {str(i): d for i, d in enumerate(decoded) if d != strings[i]},
        "special": with_special,
    })


def write_gguf(name, tokenizer, pre, bos=None, eos=None, unknown=None, space_prefix=None):
    raw = json.loads(tokenizer.to_str())
    added = {t["id"]: t for t in raw["added_tokens"]}
    tokens = dict(sorted({i: t for t, i in tokenizer.get_vocab(True).items()}.items()))
    writer = gguf.GGUFWriter(OUT / f"{name}.gguf", "none")
    writer.add_tokenizer_model("gpt2" if pre else "llama")
    types, scores = [], []
    rank = {}
    for i, merge in enumerate(raw["model"]["merges"]):
        rank.setdefault("".join(merge), len(rank))
    for i, text in tokens.items():
        if text == unknown:
            types.append(gguf.TokenType.UNKNOWN)
        elif i in added:
            types.append(gguf.TokenType.CONTROL if added[i]["special"] else gguf.TokenType.USER_DEFINED)
        elif not pre and text in BYTES:
            types.append(gguf.TokenType.BYTE)
        else:
            types.append(gguf.TokenType.NORMAL)
        scores.append(-float(rank.get(text, 1e6)))
    writer.add_token_list(list(tokens.values()))
    writer.add_token_types(types)
    if pre:
        writer.add_tokenizer_pre(pre)
        writer.add_token_merges([" ".join(m) for m in raw["model"]["merges"]])
    else:
        writer.add_token_scores(scores)
        writer.add_add_space_prefix(space_prefix)
        writer.add_unk_token_id(tokenizer.token_to_id(unknown))
    if bos:
        writer.add_bos_token_id(tokenizer.token_to_id(bos))
    if eos:
        writer.add_eos_token_id(tokenizer.token_to_id(eos))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def smollm2(path):
    """SmolLM2's tokenizer.json, rebuilt from its GGUF file."""
    fields = gguf.GGUFReader(path).fields
    tokens = fields["tokenizer.ggml.tokens"].contents()
    types = fields["tokenizer.ggml.token_type"].contents()
    merges = [tuple(m.split(" ")) for m in fields["tokenizer.ggml.merges"].contents()]
    tokenizer = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(special([t for t, kind in zip(tokens, types) if kind == gguf.TokenType.CONTROL]))
    return tokenizer


STYLES = {
    # name: (make, config, arguments of write_gguf or None)
    "llama3": (llama3, {"bos_token": "<|begin_of_text|>", "eos_token": "<|eot_id|>"},
               dict(pre="llama-bpe", bos="<|begin_of_text|>", eos="<|eot_id|>")),
    "qwen2": (qwen2, {"add_bos_token": False, "bos_token": None, "eos_token": {"content": "<|im_end|>"}},
              dict(pre="qwen2", eos="<|im_end|>")),
    "gpt2": (gpt2, {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"},
             dict(pre="gpt-2", bos="<|endoftext|>", eos="<|endoftext|>")),
    "smollm": (smollm, {"bos_token": "<|im_start|>", "eos_token": "<|im_end|>"},
               dict(pre="smollm", bos="<|im_start|>", eos="<|im_end|>")),
    "gemma": (gemma, {"add_bos_token": True, "bos_token": "<bos>", "eos_token": "<eos>"},
              dict(pre=None, bos="<bos>", eos="<eos>", unknown="<unk>", space_prefix=False)),
    "llama2": (llama2, {"add_bos_token": True, "add_eos_token": False, "bos_token": "<s>", "eos_token": "</s>"},
               dict(pre=None, bos="<s>", eos="</s>", unknown="<unk>", space_prefix=True)),
    "mistral": (mistral, {"bos_token": "<s>", "eos_token": "</s>"}, None),
    "mixed": (mixed, {}, None),
    "words": (words, {}, None),
}


def main():
    OUT.mkdir(exist_ok=True)
    strings = tokenizer_text.strings()
    dump("strings.json", strings)
    for name, (make, config, gguf_arguments) in STYLES.items():
        tokenizer = make()
        raw = json.loads(tokenizer.to_str())
        dump(f"{name}.json", raw)
        dump(f"{name}.config.json", config)
        expect(name, tokenizer, strings)
        if gguf_arguments is not None:
            write_gguf(name, tokenizer, **gguf_arguments)
    if len(sys.argv) > 1:
        expect("smollm2", smollm2(sys.argv[1]), strings)


if __name__ == "__main__":
    main()
