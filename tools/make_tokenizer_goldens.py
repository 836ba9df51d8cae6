#!/usr/bin/env python3
"""Trains the small tokenizer of src/text/testdata and records what HF tokenizers makes of the cases.

    pip install tokenizers && tools/make_tokenizer_goldens.py

Writes tokenizer.json (HF's own file; 1,000 merges that cross word ends wherever they can, so that a
wrong split shows in the ids), tokenizer_cases.json (strings) and tokenizer_goldens.json (pre-tokenizer
-> ids of each string, special tokens parsed; null: as gpt-2) and utf8_goldens.json
(bytes -> what Python decodes). tools/compare_tokenizer.py does the same with the
vocabulary of a real model and 6,000 strings.
"""
import itertools
import json
import pathlib
import random
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

ROOT = pathlib.Path(__file__).resolve().parent.parent
OUT = ROOT / "src/text/testdata"

CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
LLAMA3 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + TAIL
QWEN2 = CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + TAIL

# First and last code point of a stretch of letters (marks and digits among them) of each script.
SCRIPTS = {
    "latin": (0x41, 0x7A), "latin extended": (0xC0, 0x24F), "ipa": (0x250, 0x2AF),
    "greek": (0x370, 0x3FF), "cyrillic": (0x400, 0x52F), "armenian": (0x531, 0x58F),
    "hebrew": (0x591, 0x5F4), "arabic": (0x600, 0x6FF), "syriac": (0x700, 0x74F),
    "thaana": (0x780, 0x7B1), "nko": (0x7C0, 0x7FA), "devanagari": (0x900, 0x97F),
    "bengali": (0x980, 0x9FE), "gurmukhi": (0xA01, 0xA76), "gujarati": (0xA81, 0xAFF),
    "oriya": (0xB01, 0xB77), "tamil": (0xB82, 0xBFA), "telugu": (0xC00, 0xC7F),
    "kannada": (0xC80, 0xCF2), "malayalam": (0xD00, 0xD7F), "sinhala": (0xD81, 0xDF4),
    "thai": (0xE01, 0xE5B), "lao": (0xE81, 0xEDF), "tibetan": (0xF00, 0xFDA),
    "myanmar": (0x1000, 0x109F), "georgian": (0x10A0, 0x10FF), "hangul jamo": (0x1100, 0x11FF),
    "ethiopic": (0x1200, 0x137C), "cherokee": (0x13A0, 0x13FD), "khmer": (0x1780, 0x17F9),
    "mongolian": (0x1800, 0x18AA), "vietnamese": (0x1EA0, 0x1EF9), "greek extended": (0x1F00, 0x1FFE),
    "hiragana": (0x3041, 0x309F), "katakana": (0x30A0, 0x30FF), "bopomofo": (0x3105, 0x312F),
    "han": (0x4E00, 0x9FFF), "yi": (0xA000, 0xA48C), "hangul": (0xAC00, 0xD7A3),
    "gothic": (0x10330, 0x1034A), "han b": (0x20000, 0x2A6DF),
}
SPACES = [" ", "  ", "\n", "\t", "\r\n", "\u00a0", "\u3000", "\u2028", "\u0085", "\u180e", "\u200b", "\ufeff"]
EMOJI = ["\U0001f600", "\u2764\ufe0f", "\U0001f44d\U0001f3fd", "\U0001f468\u200d\U0001f469\u200d\U0001f467",
         "\U0001f1e9\U0001f1ea", "1\ufe0f\u20e3", "\u2600", "\U0001fae8", "\U0001f3f4\u200d\u2620\ufe0f"]
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<tool>", "<tool>s", "\u00ab\u00bb"]
FIXED = [
    "", " ", "a", "  ", "\n", "\n\n", " \n ", "\r\n\r\n", "\t\tx", "'s", "it's IT'S it'S don't we'll I'd",
    "'\u017f a'\u017f 'S", "\u212a k", "a  b   c    d", "trailing  ", "  leading", "1", "12", "123", "1234",
    "12345678901234567890", "3.14159", "1,000,000", "2024-06-01T12:00:00Z", "x1y22z333", "\u00bd\u00b2\u2167\u0663",
    "a\u0301 \u00e1 A\u030a \u212b \uac00 \u1100\u1161\u11a8", "q\u0323\u0307 q\u0307\u0323 \u0f71\u0f72 \u0344",
    ">\u0338 <|im_end|>\u0338", "\u0000\u0001\u007f", "\ufffd\ufffd", "<|im_start|>user\nhi<|im_end|>\n",
    "<|im_start|><|im_start|>", "<|im_start", "<tool><tool>s<tool", "a<|endoftext|>b", "...!!!??? --- ***",
    "snake_case camelCase kebab-case", "http://example.org/a?b=c&d=%20", "e = mc^2; \u222b\u2211\u221e \u2260",
    "\u00abguillemets\u00bb \u201cquotes\u201d \u2018single\u2019 don\u2019t", "\u200e\u200f\u202e",
    "    def f(x):\n        return x ** 2\n\n\n", "a\u00a0b\u3000c\u2003d", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa" * 4,
    " " * 100, "\n" * 100, "ha" * 100, "0" * 100, "\u0e01" * 50,
]


def script_text(rng, name, n_words):
    first, last = SCRIPTS[name]
    words = ["".join(chr(rng.randint(first, last)) for _ in range(rng.randint(1, 9))) for _ in range(n_words)]
    return "".join(w + rng.choice([" ", " ", " ", ", ", ". ", rng.choice(SPACES)]) for w in words)


def mixed_text(rng):
    kinds = [
        lambda: rng.choice(EMOJI) * rng.randint(1, 3),
        lambda: rng.choice(SPACES) * rng.randint(1, 5),
        lambda: str(rng.randint(0, 10 ** rng.randint(1, 12))),
        lambda: script_text(rng, rng.choice(list(SCRIPTS)), 1),
        lambda: rng.choice(["'s", "'LL", "'re", "'", "\"", "--", "?!", "(", ")", "_", "\\", "/", "#", "\n"]),
        lambda: rng.choice(FIXED[1:30]),
        lambda: rng.choice(SPECIALS),
    ]
    return "".join(rng.choice(kinds)() for _ in range(rng.randint(1, 12)))


def unassigned_free(text):
    """Without surrogates, which are not text."""
    return "".join(c for c in text if not 0xD800 <= ord(c) < 0xE000)


def cases(n, seed, files):
    """n strings: fixed ones, each script, pieces of `files`, random bytes, random mixtures."""
    rng = random.Random(seed)
    out = list(FIXED)
    for name in SCRIPTS:
        out.append(script_text(rng, name, 8))
    texts = [p.read_text(encoding="utf-8", errors="replace") for p in files]
    while len(out) < n:
        kind = rng.randrange(6)
        if kind == 0:
            out.append(bytes(rng.randrange(256) for _ in range(rng.randint(1, 60))).decode(errors="replace"))
        elif kind == 1:
            out.append(script_text(rng, rng.choice(list(SCRIPTS)), rng.randint(1, 8)))
        elif kind in (2, 3):
            text = rng.choice(texts)
            start = rng.randrange(max(1, len(text)))
            out.append(text[start : start + rng.randint(1, 160)])
        elif kind == 4:
            high = rng.choice([0x80, 0x800, 0x3100, 0x10000, 0x20000, 0x110000])
            out.append(unassigned_free("".join(chr(rng.randrange(high)) for _ in range(rng.randint(1, 30)))))
        else:
            out.append(mixed_text(rng))
    return out[:n]


def source_files():
    names = sorted(ROOT.glob("src/*/*.cc")) + sorted(ROOT.glob("include/raptly/*.h")) + sorted(ROOT.glob("*.md"))
    return names + [pathlib.Path(__file__)]


def pre_tokenizer(name):
    """As the published tokenizers have it."""
    byte_level = lambda regex: pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=regex)
    split = lambda regex: pre_tokenizers.Split(Regex(regex), "isolated")
    return {
        "gpt-2": lambda: byte_level(True),
        "smollm": lambda: pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), byte_level(True)]),
        "llama-bpe": lambda: pre_tokenizers.Sequence([split(LLAMA3), byte_level(False)]),
        "qwen2": lambda: pre_tokenizers.Sequence([split(QWEN2), byte_level(False)]),
    }[name]()


NAMES = ["gpt-2", "llama-bpe", "qwen2", "smollm"]


def use_pre_tokenizer(tokenizer, name):
    tokenizer.pre_tokenizer = pre_tokenizer(name)
    tokenizer.normalizer = normalizers.NFC() if name == "qwen2" else None


def train(texts):
    tokenizer = Tokenizer(models.BPE())
    chunks = pre_tokenizers.Split(Regex(r"[^\n]{1,40}\n*|\n+"), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [chunks, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=1256, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False))
    tokenizer.add_special_tokens(SPECIALS[:3])
    tokenizer.add_tokens([AddedToken(t, normalized=False) for t in SPECIALS[3:]])
    return tokenizer


def fnv1a(data, state=0xCBF29CE484222325):
    for byte in data:
        state = ((state ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return state


def utf8_goldens():
    """What errors="replace" makes of bytes: some cases, and a hash over all strings of 1 to 4 edge bytes."""
    edges = [0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xEC,
             0xED, 0xEE, 0xEF, 0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xFF]
    state = fnv1a(b"")
    for length in range(1, 5):
        for text in itertools.product(edges, repeat=length):
            state = fnv1a(bytes(text).decode(errors="replace").encode() + b"\n", state)
    rng = random.Random(3)
    texts = [bytes(rng.choice(edges) for _ in range(rng.randint(1, 12))) for _ in range(60)]
    return {"edges": edges, "hash": f"{state:016x}", "cases": [[t.hex(), t.decode(errors="replace")] for t in texts]}


def main():
    OUT.mkdir(exist_ok=True)
    strings = cases(600, 1, source_files())
    tokenizer = train(strings + [p.read_text() for p in source_files()[:40]] + FIXED * 3)
    use_pre_tokenizer(tokenizer, "smollm")
    (OUT / "tokenizer.json").write_text(json.dumps(json.loads(tokenizer.to_str()), ensure_ascii=True, separators=(",", ":")) + "\n")
    goldens = {}
    for name in NAMES:
        use_pre_tokenizer(tokenizer, name)
        goldens[name] = [tokenizer.encode(s).ids for s in strings]
    for name in NAMES[1:]:  # null: as gpt-2
        goldens[name] = [None if a == b else a for a, b in zip(goldens[name], goldens[NAMES[0]])]
    write = lambda name, value: (OUT / name).write_text(json.dumps(value, separators=(",", ":")) + "\n")
    write("tokenizer_cases.json", strings)
    write("tokenizer_goldens.json", goldens)
    write("utf8_goldens.json", utf8_goldens())


if __name__ == "__main__":
    sys.exit(main())
