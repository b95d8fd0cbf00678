#!/usr/bin/env python3
"""What the demo adapters write, scored: one table, a share of the seeds for each property.

    python3 bench/demo_quality.py build/release/chorus smollm2 --adapters adapters [--clip-vocab bpe_simple_vocab_16e6.txt.gz]

Asks for stories and image prompts of held-out scenes and for lines of the elf and the villain, with one seed each, all in
one `chorus batch`. A story must have its title, three acts, turn and ending, in that order and each with a text; an image
prompt every property that --help lists; the elf and the villain are told apart by a naive Bayes classifier of words that
has only read their held-out answers. CLIP's tokens are counted by its vocabulary (in PyPI's open-clip-torch), or guessed
from the words where it is not given, which is said.
"""

import argparse
import collections
import gzip
import json
import math
import pathlib
import re
import subprocess
import sys
import tempfile

SAMPLING = {"temperature": 0.6, "min_p": 0.1, "repetition_penalty": 1.05}
PARTS = ["Title:", "Act 1:", "Act 2:", "Act 3:", "The turn:", "Ending:"]
STYLES = "photo|painting|illustration|watercolor|render|rendering|animation|film still|sketch|drawing|woodcut|print|gouache|engraving|comic|pixel art|cinematic|ink|art|portrait|collage|mural|poster"
SMALL = set("a an and are as at by for from her his in into is it its of on or over she he that the their them they this through to under up was who with".split())
LINES = [
    "Who goes there?", "What do you think of the king?", "Can you help me?", "Tell me about your past.", "Is it safe to travel at night?",
    "I brought you a gift.", "What is behind that door?", "Do you have any friends?", "I am looking for my brother.", "What should I fear here?",
    "Will you join us?", "Sing me something.", "How old are you?", "Why do you live here?", "I must pay my taxes tomorrow.",
    "Give me some advice.", "Where were you last night?", "Do you ever sleep?", "The guards are looking for you.", "Goodbye.",
]


def clip_tokenizer(path):
    """A function text -> number of CLIP tokens, without begin and end."""
    merges = gzip.open(path, "rt", encoding="utf-8").read().split("\n")[1 : 49152 - 256 - 2 + 1]
    ranks = {tuple(line.split()): i for i, line in enumerate(merges)}
    word = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[a-z]+|[0-9]|[^\sa-z0-9]+")

    def count(text):
        total = 0
        for piece in word.findall(text.lower()):
            parts = [*piece[:-1], piece[-1] + "</w>"]
            while len(parts) > 1:
                best = min(range(len(parts) - 1), key=lambda i: ranks.get((parts[i], parts[i + 1]), math.inf))
                if (parts[best], parts[best + 1]) not in ranks:
                    break
                parts[best : best + 2] = [parts[best] + parts[best + 1]]
            total += len(parts)
        return total

    return count


def story_parts(text):
    places = [text.find(part) for part in PARTS]
    if -1 in places or places != sorted(places):
        return False
    ends = [*places[1:], len(text)]
    return all(len(text[place + len(part) : end].strip()) > 3 for part, place, end in zip(PARTS, places, ends))


def content_words(text):
    """By their first four letters: walks and walking are one."""
    return {word[:4] for word in re.findall(r"[a-z]+", text.lower()) if word not in SMALL and len(word) > 2}


def prompt_properties(text, scene, tokens):
    """{property: whether an image prompt has it}."""
    phrases = [phrase.strip() for phrase in text.split(",")]
    names = {word for word in re.findall(r"(?<![.!?:] )(?<!^)\b[A-Z][a-z]+", scene)}
    words = re.findall(r"[a-z]+", text.lower())
    pairs = collections.Counter(zip(words, words[1:], words[2:]))
    return {
        "at most 75 CLIP tokens": tokens(text) <= 75,
        "clean characters, one line": not re.search(r"[<>()\[\]{}|\\:\n\x00-\x1f]", text.strip()),
        "5 to 9 phrases": 5 <= len(phrases) <= 9,
        "no names": not any(re.search(rf"\b{name}\b", text) for name in names),
        "a style": bool(re.search(rf"\b({STYLES})\b", text, re.I)),
        "words of the scene": len(content_words(text) & content_words(scene)) >= 2,
        "no phrase twice": len(set(map(str.lower, phrases))) == len(phrases) and max(pairs.values(), default=1) == 1,
        "ends by itself": len(text.strip()) > 0,
    }


class NaiveBayes:
    """Of the words that stand in two texts or more, each counted once a text."""

    def __init__(self, texts):
        counts = {name: collections.Counter(w for text in own for w in self.words(text)) for name, own in texts.items()}
        self.vocabulary = {w for w, count in sum(counts.values(), collections.Counter()).items() if count >= 2}
        self.counts = {name: collections.Counter({w: own[w] for w in self.vocabulary}) for name, own in counts.items()}

    @staticmethod
    def words(text):
        return set(re.findall(r"[a-z']+|[?!]", text.lower()))

    def most_likely(self, text):
        def score(name):
            own, words = self.counts[name], self.words(text) & self.vocabulary
            return sum(math.log((own[w] + 0.5) / (own.total() + 0.5 * len(self.vocabulary))) for w in words)

        return max(self.counts, key=score)


def records(folder, name, file="heldout.jsonl"):
    return [json.loads(line)["messages"] for line in (folder / name / file).read_text().splitlines()]


def jobs_of(folder, seeds):
    """{custom id: (model, messages, max tokens, seed, what it was asked)}; the scenes in turn, a seed each."""
    jobs = {}
    for seed in range(seeds):
        story = records(folder, "story")
        asked = story[seed % len(story)][-2]["content"]
        jobs[f"story-{seed}"] = ("story", asked, 400, seed)
        image = records(folder, "image-prompt")
        asked = image[seed % len(image)][-2]["content"]
        jobs[f"image-prompt-{seed}"] = ("image-prompt", asked, 120, seed)
        for voice in ("elf", "villain"):
            jobs[f"{voice}-{seed}"] = (voice, LINES[seed % len(LINES)], 100, seed)
    return jobs


def answers_of(chorus, model, adapters, jobs):
    """{custom id: (text, finish reason)}."""
    with tempfile.TemporaryDirectory() as folder:
        lines, out = pathlib.Path(folder) / "in.jsonl", pathlib.Path(folder) / "out.jsonl"
        with lines.open("w") as file:
            for name, (voice, asked, tokens, seed) in jobs.items():
                body = {"model": voice, "messages": [{"role": "user", "content": asked}], "max_tokens": tokens, "seed": seed}
                request = {"custom_id": name, "method": "POST", "url": "/v1/chat/completions", "body": body | SAMPLING}
                file.write(json.dumps(request) + "\n")
        subprocess.run([chorus, "batch", model, lines, out, "--adapters", adapters], check=True, stderr=subprocess.DEVNULL)
        results = [json.loads(line) for line in out.read_text().splitlines()]
    choices = {result["custom_id"]: result["response"]["body"]["choices"][0] for result in results}
    return {name: (choice["message"]["content"], choice["finish_reason"]) for name, choice in choices.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("chorus")
    parser.add_argument("model")
    parser.add_argument("--adapters", type=pathlib.Path, default=pathlib.Path("adapters"))
    parser.add_argument("--data", type=pathlib.Path, help="whose held-out data are asked for; --adapters by default")
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument("--clip-vocab")
    parser.add_argument("--show", action="store_true", help="print what fell short")
    args = parser.parse_args()
    data = args.data or args.adapters
    tokens = clip_tokenizer(args.clip_vocab) if args.clip_vocab else lambda text: round(1.33 * len(re.findall(r"\w+|,", text)))
    if not args.clip_vocab:
        print("CLIP's tokens are guessed: 1.33 a word (--clip-vocab counts them)", file=sys.stderr)
    jobs = jobs_of(data, args.seeds)
    answers = answers_of(args.chorus, args.model, args.adapters, jobs)
    held_out = {voice: [messages[-1]["content"] for messages in records(data, voice)] for voice in ("elf", "villain")}
    bayes = NaiveBayes(held_out)

    good, seen = collections.Counter(), collections.Counter()

    def count(row, well, name):
        good[row] += well
        seen[row] += 1
        if args.show and not well:
            print(f"[{row}] {jobs[name][1]!r} -> {answers[name][0]!r}", file=sys.stderr)

    for name, (text, finish) in answers.items():
        voice, asked, _, _ = jobs[name]
        if voice == "story":
            count("story: all parts in order, ended", story_parts(text) and finish == "stop", name)
        elif voice == "image-prompt":
            scene = asked.split(":", 1)[-1].strip()
            properties = prompt_properties(text, scene, tokens)
            for what, well in properties.items():
                count(f"image prompt: {what}", well, name)
            count("image prompt: all of these", all(properties.values()), name)
        else:
            count("elf and villain told apart", bayes.most_likely(text) == voice, name)
    for row in good:
        print(f"{row:40} {good[row]:4} of {seen[row]:4}  {good[row] / seen[row]:6.1%}")


if __name__ == "__main__":
    main()
