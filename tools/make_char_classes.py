#!/usr/bin/env python3
"""Writes src/text/char_class_table.cc: which characters HF tokenizers' regex engine calls \\p{L}, \\p{N}
and \\s, and which others its Digits step calls digits (it asks Rust, whose Unicode is newer). The engine itself is asked, for every code point, so the tables do not depend on the Unicode
version of whatever library a machine has.

    pip install tokenizers && tools/make_char_classes.py
"""
import pathlib

import tokenizers
from tokenizers import Regex, pre_tokenizers

ROOT = pathlib.Path(__file__).resolve().parent.parent
CLASSES = [("kLetter", r"\p{L}"), ("kNumber", r"\p{N}"), ("kSpace", r"\s")]
PER_LINE = 6


def members(pattern):
    """Code points that match `pattern`, by removing them from a text of all code points."""
    split = pre_tokenizers.Split(Regex(pattern), "removed")
    points = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
    found = set()
    for i in range(0, len(points), 4096):
        text = "".join(map(chr, points[i : i + 4096]))
        kept = set("".join(piece for piece, _ in split.pre_tokenize_str(text)))
        found.update(ord(c) for c in text if c not in kept)
    return found


def digits():
    step = pre_tokenizers.Digits(individual_digits=True)
    points = (c for c in range(0x80, 0x110000) if not 0xD800 <= c < 0xE000)
    return {c for c in points if len(step.pre_tokenize_str("a" + chr(c))) > 1}


def main():
    class_of = dict.fromkeys(digits(), "kDigit")
    for name, pattern in CLASSES:
        class_of.update(dict.fromkeys(members(pattern), name))
    changes, last = [], "kOther"
    for c in range(0x80, 0x110000):
        now = class_of.get(c, "kOther")
        if now != last:
            changes.append((c, now))
            last = now
    letter = {"kOther": "O", "kLetter": "L", "kNumber": "N", "kSpace": "S", "kDigit": "D"}
    cells = [f"{{0x{c:X}, {letter[k]}}}," for c, k in changes]
    lines = [" ".join(cells[i : i + PER_LINE]) for i in range(0, len(cells), PER_LINE)]
    (ROOT / "src/text/char_class_table.cc").write_text(
        f"""// Made by tools/make_char_classes.py with HF tokenizers {tokenizers.__version__}. Do not edit.
#include "text/char_classes.h"

namespace raptly {{
namespace {{

constexpr CharClass O = CharClass::kOther;
constexpr CharClass L = CharClass::kLetter;
constexpr CharClass N = CharClass::kNumber;
constexpr CharClass S = CharClass::kSpace;
constexpr CharClass D = CharClass::kDigit;

// clang-format off
constexpr CharClassChange kChanges[] = {{
"""
        + "\n".join(lines)
        + """
};
// clang-format on

}  // namespace

std::span<const CharClassChange> char_class_changes() noexcept { return kChanges; }

}  // namespace raptly
"""
    )


if __name__ == "__main__":
    main()
