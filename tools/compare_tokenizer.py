#!/usr/bin/env python3
"""Compares raptly's ids with HF tokenizers' on thousands of strings, with the vocabulary of a GGUF file.

    pip install tokenizers gguf
    tools/compare_tokenizer.py MODEL.gguf [--strings 6000] [--build build/release]

HF's tokenizer is put together from the file's tokens and merges and each published pre-tokenizer (of
smollm: with the step that takes digits one by one, which transformers' own conversion forgets). The
strings go through raptly_text_test, a few through the program `raptly tokenize`.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

import gguf
from tokenizers import AddedToken, Tokenizer, decoders, models

import make_tokenizer_goldens as goldens


def strings_of(reader, key):
    field = reader.fields[key]
    return [bytes(field.parts[i]).decode() for i in field.data]


def hf_tokenizer(path):
    reader = gguf.GGUFReader(path)
    tokens = strings_of(reader, "tokenizer.ggml.tokens")
    merges = [tuple(m.split(" ")) for m in strings_of(reader, "tokenizer.ggml.merges")]
    types = reader.fields["tokenizer.ggml.token_type"]
    kinds = [int(types.parts[i][0]) for i in types.data]
    tokenizer = Tokenizer(models.BPE({t: i for i, t in enumerate(tokens)}, merges))
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(t, normalized=False) for t, k in zip(tokens, kinds) if k == 3])
    tokenizer.add_tokens([AddedToken(t, normalized=False) for t, k in zip(tokens, kinds) if k == 4])
    return tokenizer


def every_character():
    """Each code point between letters, spaces and digits, 40 to a string."""
    points = [chr(c) for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    glue = ["a", " ", "1", "  ", "'s", "!"]
    return ["".join(c + glue[(i + k) % 6] for k, c in enumerate(points[i : i + 40])) for i in range(0, len(points), 40)]


def compare(build, tokenizer, name, strings):
    goldens.use_pre_tokenizer(tokenizer, name)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "tokenizer.json").write_text(tokenizer.to_str())
        (folder / "cases.json").write_text(json.dumps(strings))
        (folder / "goldens.json").write_text(json.dumps([tokenizer.encode(s).ids for s in strings]))
        done = subprocess.run([build / "raptly_text_test", "--gtest_filter=TokenizerModelSlow.*"],
                              env={**os.environ, "RAPTLY_TOKENIZER_CASES": str(folder)}, capture_output=True, text=True)
    print(f"{name}: {len(strings)} strings: {'equal' if done.returncode == 0 else 'DIFFERENT'}")
    if done.returncode != 0:
        print(done.stdout[:4000])
    return done.returncode == 0


def compare_program(build, tokenizer, model, strings):
    """`raptly tokenize MODEL -`, which reads the pre-tokenizer's name from the file; and back."""
    goldens.use_pre_tokenizer(tokenizer, strings_of(gguf.GGUFReader(model), "tokenizer.ggml.pre")[0])
    program = [build / "raptly", "tokenize", model, "-", "--special"]
    equal = 0
    for text in strings:
        out = subprocess.run(program, input=text.encode(), capture_output=True)
        equal += out.returncode == 0 and json.loads(out.stdout) == tokenizer.encode(text).ids
    print(f"raptly tokenize: {equal} of {len(strings)} strings equal")
    return equal == len(strings)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model")
    parser.add_argument("--strings", type=int, default=6000)
    parser.add_argument("--build", type=pathlib.Path, default=goldens.ROOT / "build/release")
    parser.add_argument("--program", type=int, default=20, help="strings that go through the program")
    args = parser.parse_args()
    tokenizer = hf_tokenizer(args.model)
    strings = goldens.cases(args.strings, 2, goldens.source_files()) + every_character()
    ok = [compare(args.build, tokenizer, name, strings) for name in goldens.NAMES]
    ok.append(args.program == 0 or compare_program(args.build, tokenizer, args.model, strings[: args.program]))
    return 0 if all(ok) else 1


if __name__ == "__main__":
    sys.exit(main())
