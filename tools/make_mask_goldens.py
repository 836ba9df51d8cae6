#!/usr/bin/env python3
"""Writes src/mask/testdata/goldens.txt: small masks as NumPy sees them, written from the definitions.

Each case is a line `case BATCH Q_LEN KV_LEN FIRST_POSITION TEXT` and q_len lines of kv_len digits.
"""

import pathlib

import numpy as np


def grid(q_len, kv_len):
    return np.arange(q_len)[:, None], np.arange(kv_len)[None, :]


def causal(q_len, kv_len, position, top_left=False):
    query, key = grid(q_len, kv_len)
    return key <= query + (0 if top_left else position)


def window(q_len, kv_len, position, left, right):
    query, key = grid(q_len, kv_len)
    distance = key - (query + position)
    return (distance >= (-np.inf if left is None else -left)) & (
        distance <= (np.inf if right is None else right)
    )


def prefix(q_len, kv_len, position, n):
    query, key = grid(q_len, kv_len)
    return (key < n) | (key <= query + position)


def lengths(q_len, kv_len, q_n, kv_n):
    query, key = grid(q_len, kv_len)
    return (query < q_n) & (key < kv_n)


def cases():
    shapes = [(1, 1), (1, 9), (5, 5), (2, 5), (5, 2), (7, 11), (11, 7), (3, 0), (0, 3)]
    for q_len, kv_len in shapes:
        p = kv_len - q_len
        shape = (0, q_len, kv_len, p)
        yield shape, "all", np.ones((q_len, kv_len), bool)
        yield shape, "causal", causal(q_len, kv_len, p)
        yield shape, 'causal(corner="top_left")', causal(q_len, kv_len, p, top_left=True)
        for left, right in [(0, 0), (2, 0), (1, 3), (None, 1), (2, None), (None, None), (9, 9)]:
            text = f"window({left}, {right})"
            yield shape, text, window(q_len, kv_len, p, left, right)
            yield shape, f"causal & {text}", causal(q_len, kv_len, p) & window(
                q_len, kv_len, p, left, right
            )
        for n in (0, 1, 3, 99):
            yield shape, f"prefix({n})", prefix(q_len, kv_len, p, n)
        yield shape, "mistral(1)", window(q_len, kv_len, p, 0, 0)
        yield shape, "mistral(3)", window(q_len, kv_len, p, 2, 0)
    for position in (-3, 0, 4, 100):  # positions that the call gives
        shape = (0, 4, 6, position)
        yield shape, "causal", causal(4, 6, position)
        yield shape, 'causal(corner="top_left")', causal(4, 6, position, top_left=True)
        yield shape, "window(2, 1)", window(4, 6, position, 2, 1)
    q_lens, kv_lens = [5, 2, 0, 3], [7, 7, 4, 1]
    text = f"lengths({q_lens}, {kv_lens})"
    for batch, (q_n, kv_n) in enumerate(zip(q_lens, kv_lens)):
        shape = (batch, 5, 7, 2)
        padding = lengths(5, 7, q_n, kv_n)
        p = kv_n - q_n  # bottom-right counts the lengths, not the padded shape
        yield shape, text, padding
        yield shape, f"causal & {text}", padding & causal(5, 7, p)
        yield shape, f"{text} & window(1, 1)", padding & window(5, 7, p, 1, 1)
        yield shape, f'{text} & causal(corner="top_left")', padding & causal(5, 7, p, True)


def main():
    path = pathlib.Path(__file__).parent.parent / "src/mask/testdata/goldens.txt"
    with path.open("w") as out:
        for shape, text, seen in cases():
            print("case", *shape, text, file=out)
            for row in seen.astype(int):
                print("".join(map(str, row)), file=out)


if __name__ == "__main__":
    main()
