"""Text for the tokenizer goldens: our own sentences in many scripts, code, emoji and awkward spaces."""

import random

SENTENCES = [
    "The lamp on the quay burned low, and nobody came to trim it.",
    "I'll say we've seen what she'd done; they're sure it isn't HIS, IT'S ours.",
    "Prices rose 12.5% in 2026, from 1,048 to 1179 a ton.",
    "Der Müller mahlt früh, die Straße bleibt naß und öd.",
    "L'été dernier, ça n'allait pas très bien à l'hôpital.",
    "El niño pequeño comió piñones; ¿quién lo habría creído?",
    "İstanbul'da ılık bir gün, çiğ düşmüş güllere.",
    "Người thợ già đặt chiếc đồng hồ xuống bàn gỗ.",
    "Zażółć gęślą jaźń, powiedział łódzki żeglarz.",
    "Příliš žluťoučký kůň pil vodu u řeky.",
    "Το παλιό καράβι έφυγε πριν ξημερώσει.",
    "Старый мельник не спал до самого утра.",
    "Вітер з гір приніс дощ і їжакам, і людям.",
    "Հին ջրաղացը կանգնած է գետի մոտ։",
    "ძველი წისქვილი მდინარესთან დგას.",
    "הטחנה הישנה עומדת ליד הנהר.",
    "שָׁלוֹם לְכָל הַבָּאִים",
    "تقف الطاحونة القديمة قرب النهر.",
    "قَرَأَ الوَلَدُ كِتَابًا جَدِيدًا",
    "آسیاب کهنه کنار رود می‌ایستد.",
    "पुरानी चक्की नदी के पास खड़ी है।",
    "পুরানো কলটি নদীর ধারে দাঁড়িয়ে আছে।",
    "ਪੁਰਾਣੀ ਚੱਕੀ ਨਦੀ ਕੋਲ ਖੜ੍ਹੀ ਹੈ।",
    "જૂની ઘંટી નદી પાસે ઊભી છે.",
    "பழைய ஆலை ஆற்றின் அருகே நிற்கிறது.",
    "పాత మిల్లు నది దగ్గర ఉంది.",
    "ಹಳೆಯ ಗಿರಣಿ ನದಿಯ ಬಳಿ ಇದೆ.",
    "പഴയ മില്ല് പുഴയുടെ അരികിലാണ്.",
    "පැරණි මෝල ගඟ අසල ඇත.",
    "โรงสีเก่าตั้งอยู่ริมแม่น้ำ ๑๒๓",
    "ໂຮງສີເກົ່າຕັ້ງຢູ່ແຄມນໍ້າ",
    "ཆུ་འཁོར་རྙིང་པ་ཆུ་འགྲམ་ན་ཡོད།",
    "စက်ဟောင်းသည် မြစ်နားမှာ ရှိသည်။",
    "រោងម៉ាស៊ីនចាស់នៅជិតទន្លេ។",
    "አሮጌው ወፍጮ በወንዙ አጠገብ ይገኛል።",
    "ᎣᏏᏲ ᎢᎦᏓ ᎠᎹ ᎡᏆ",
    "낡은 물레방아가 강가에 서 있다.",
    "古い水車は川のそばに立っている。",
    "カタカナとひらがなを混ぜて書くテスト、ｶﾅも。",
    "旧磨坊站在河边，没有人来。",
    "舊磨坊站在河邊，三十年了！",
    "ᠬᠠᠭᠤᠴᠢᠨ ᠲᠡᠷᠮᠡ",
    "ᐃᓄᒃᑎᑐᑦ ᑎᑎᕋᐅᓯᖅ",
    "𐌼𐌰𐌲 𐌲𐌻𐌴𐍃 𐌹̈𐍄𐌰𐌽",
    "𝒜 𝔟𝔬𝔩𝔡 𝟙𝟚𝟛 𝐱²+𝐲²",
    "ﬁne ﬂour ① ② Ⅳ ㎏ ｆｕｌｌ ｗｉｄｔｈ ½ ﷺ",
    "e\u0301te\u0301 n\u0303 A\u030a \u1100\u1161\u11a8 o\u0323\u0302\u0301",
    "\u0041\u0301\u0316\u0301\u0327 q\u0307\u0323 \u1e9b\u0323",
    "ſtrange K (Kelvin) Å (Ångström) ſ'ſ it'ſ I'LL I'Ll",
]

CODE = [
    "int main(int argc, char** argv) {\n  return argc > 1 ? 0 : 1;\n}\n",
    "def f(x, *, y=None):\n    \"\"\"Doc.\"\"\"\n\treturn x if y is None else x ** y\n",
    "for (size_t i = 0; i < n; ++i) sum += a[i] * b[i];",
    "SELECT id, name FROM users WHERE age >= 21 AND name <> 'O''Brien';",
    "{\"key\": [1, 2.5e-10, true, null, \"\\u00e9\\n\"]}",
    "<div class=\"a b\"><p>hi &amp; bye</p></div><!-- x -->",
    "https://example.org/a/b?c=d&e=%20f#g user@host.example",
    "$ grep -rn 'foo|bar' ./src | sort -u > out.txt 2>&1",
    "x = 0xDEADBEEF; y = 1_000_000; z = 3.14159f; s = `a${b}c`",
    "template <typename T> auto f(T&& t) -> decltype(t + 1) { return t + 1; }",
    "fn main() { let v: Vec<u8> = vec![0; 16]; println!(\"{:?}\", &v[..4]); }",
    "\\begin{equation} \\sum_{i=1}^{n} \\frac{1}{i^2} \\end{equation}",
    "# Title\n\n* item *one*\n  * item **two**\n\n```c\nx++;\n```\n",
    "\t\tif (!ok)\n\t\t\tgoto end;\r\n\r\nend:\r\n",
    "<0x41> <0x0A> <0xZZ> <0x-1> ▁ ▁▁a Ġthe Ċ",
]

EMOJI = [
    "👍", "👍🏽", "👩‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪🇫🇷", "❤️‍🔥", "1️⃣", "🧑🏿‍🚀", "☕", "🫠", "✨🎉", "😀😀😀", "👨‍💻 codes", "🏴󠁧󠁢󠁳󠁣󠁴󠁿",
    "☠︎", "🤷‍♀️!", "a🙂b", "©®™", "→⇒↔", "♜♞♝♛",
]

SPACES = [
    "\u00a0", "\t", "\r\n", "\u200b", "  ", "   ", "        ", "\n\n", "\n\n\n", " \n", "\n ", "\u3000", "\u2009",
    "\u202f", "\u2028", "\u0085", "\ufeff", "\u180e", "\u200d", "\u200c", "\u2060", "\r", "\v", "\f", "\x1c", " \t ",
    "\t\t\t", "\r\r", "\n\r", "\u1680", "\u205f", "\u00ad",
]

NUMBERS = [
    "0", "7", "42", "123", "1234", "12345", "1234567890", "3.14", "1e-9", "٠١٢٣٤", "१२३", "२०२६", "๑๒", "½¾", "Ⅷ", "²³",
    "①②", "一二三", "0x1F", "1,000,000.00", "2026-11-22", "+49 30 1234567", "99%", "№5", "𝟘𝟙𝟚𝟛𝟜",
]

SPECIALS = [
    "<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|begin_of_text|>", "<|eot_id|>", "<s>", "</s>", "<bos>", "<eos>",
    "<start_of_turn>", "<end_of_turn>", "<unk>", "<pad>", "<|im_start|", "<|im_end", "<|eot_id|>>", "<<s>>",
    "[STRIP]", "[LEFT]", "[RIGHT]", "word", "Żnit", "<tool_call>",
]


def corpus():
    """Training lines: the sentences and code, shuffled and joined in many ways (fixed seed)."""
    rng = random.Random(1)
    lines = []
    for _ in range(6000):
        parts = rng.choices(SENTENCES, k=2) + rng.choices(CODE + EMOJI + NUMBERS, k=1)
        words = " ".join(parts).split(" ")
        rng.shuffle(words)
        lines.append(" ".join(words[: rng.randint(3, 14)]))
    for _ in range(400):
        lines.append(rng.choice(SPACES) * rng.randint(1, 8) + rng.choice(CODE))
    return lines + SENTENCES + CODE


def random_unicode(rng):
    ranges = [(0x20, 0x7E), (0xA0, 0x24F), (0x250, 0x2AF), (0x300, 0x36F), (0x370, 0x5FF), (0x600, 0x6FF),
              (0x900, 0xDFF), (0x1E00, 0x20CF), (0x2190, 0x2BFF), (0x3040, 0x30FF), (0x4E00, 0x4FFF), (0xAC00, 0xAFFF),
              (0x1F300, 0x1F6FF), (0, 0x1F)]
    low, high = rng.choice(ranges)
    return "".join(chr(rng.randint(low, high)) for _ in range(rng.randint(1, 8)))


def with_specials(rng, sentences):
    text = rng.choice(sentences)[: rng.randint(0, 12)]
    for _ in range(rng.randint(1, 3)):
        text += rng.choice(["", "", " ", "  ", "\n"]) + rng.choice(SPECIALS)
        text += rng.choice(["", "", " ", "\t", "s", "x", rng.choice(sentences)[:9]])
    return text


def strings():
    """At least 2,000 distinct strings, the same in every run."""
    rng = random.Random(2)
    out = ["", " ", "a", " a", "a ", "\x00", "a\x00b"]
    out += SENTENCES + CODE + EMOJI + SPACES + NUMBERS + SPECIALS
    for space in SPACES:
        out += ["a" + space + "b", space + "a", "a" + space, space * 5 + "x", "one" + space + " " + space + "two.\n"]
    for unit in ["a", "é", "中", " ", "\n", "!", "=", "0", "-", "👍", "\u0301", "\t", "ab", "aA", " a", "\r\n", "ा", "▁", "'"]:
        out += [unit * n for n in (2, 3, 7, 16, 33, 64, 150)]
    for language in SENTENCES:
        words = language.split(" ")
        out += [words[0], " " + words[-1], language[: len(language) // 2], language.upper(), language[::-1]]
    while len(set(out)) < 1500:
        pick = rng.choices(SENTENCES + CODE, k=2)
        a, b = (t[(i := rng.randrange(len(t))) : i + rng.randint(1, 24)] for t in pick)
        out.append(a + rng.choice(SPACES + NUMBERS + EMOJI + ["", " ", " ", "'s ", "'RE"]) + b)
    while len(set(out)) < 1900:
        out.append(with_specials(rng, SENTENCES))
    while len(set(out)) < 2300:
        out.append("".join(random_unicode(rng) for _ in range(rng.randint(1, 4))))
    return list(dict.fromkeys(out))
