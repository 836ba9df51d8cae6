#!/usr/bin/env python3
"""Writes src/mask/testdata/goldens.txt: small masks as NumPy sees them, written from the definitions.

Each case is a line `case BATCH HEAD Q_LEN KV_LEN FIRST_POSITION TEXT` and q_len lines of kv_len digits.
"""

import base64
import pathlib

import numpy as np


class At:
    """Positions of a scope as a column of queries and a row of keys."""

    def __init__(self, q_len, kv_len, position=None, batch=0, head=0):
        self.q_len, self.kv_len, self.batch, self.head = q_len, kv_len, batch, head
        self.first = kv_len - q_len if position is None else position
        self.index = np.arange(q_len)[:, None]
        self.q = self.index + self.first
        self.k = np.arange(kv_len)[None, :]

    def placed(self, q, k):
        other = At(self.q_len, self.kv_len, self.first, self.batch, self.head)
        other.q, other.k = np.array(q, int)[:, None], np.array(k, int)[None, :]
        return other

    def everywhere(self, seen):
        return np.broadcast_to(seen, (self.q_len, self.kv_len))


def causal(at, top_left=False):
    return at.k <= (at.index if top_left else at.q)


def window(at, left, right):
    distance = at.k - at.q
    return (distance >= (-np.inf if left is None else -left)) & (
        distance <= (np.inf if right is None else right)
    )


def prefix(at, n):
    return (at.k < n) | (at.k <= at.q)


def chunked(at, size):
    return at.q // size == at.k // size


def dilated(at, w, step):
    return np.isin(at.k - at.q, [step * t for t in range(-w, w + 1)])


def global_tokens(at, positions):
    return np.isin(at.q, positions) | np.isin(at.k, positions)


def documents(at, q_ids, kv_ids):
    return np.array(q_ids, int)[:, None] == np.array(kv_ids, int)[None, :]


def padding(at, keep):
    return at.everywhere(np.array(keep, bool)[None, :])


def blocks(at, size, lists):
    seen = np.zeros((at.q_len, at.kv_len), bool)
    for a, row in enumerate(lists):
        for b in row:
            seen[a * size : (a + 1) * size, b * size : (b + 1) * size] = True
    return seen


def tree(at, parents):
    n = len(parents)
    seen = np.ones((n, at.kv_len), bool)
    seen[:, at.kv_len - n :] = False
    for i in range(n):
        j = i
        while j >= 0:
            seen[i, at.kv_len - n + j] = True
            j = parents[j]
    return seen


def media(at, index, tokens, every):
    image = np.arange(at.kv_len)[None, :] // tokens + 1
    index = np.array(index, int)[:, None]
    return image <= index if every else image == index


def lengths(at, q_n, kv_n):
    return (np.arange(at.q_len)[:, None] < q_n) & (np.arange(at.kv_len)[None, :] < kv_n)


def packed(at, cu_q, cu_kv, rule):
    """Each sequence by itself, as a call of its own."""
    seen = np.zeros((at.q_len, at.kv_len), bool)
    for s in range(len(cu_q) - 1):
        q, k = slice(cu_q[s], cu_q[s + 1]), slice(cu_kv[s], cu_kv[s + 1])
        alone = At(cu_q[s + 1] - cu_q[s], cu_kv[s + 1] - cu_kv[s])
        seen[q, k] = alone.everywhere(rule(alone))
    return seen


M64 = (1 << 64) - 1


def mix(x):
    x = (x + 0x9E3779B97F4A7C15) & M64
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & M64
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & M64
    return x ^ (x >> 31)


def bigbird(at, size, r, seed, etc=None):
    extra = etc or 0
    n = max(0, -(-(at.kv_len - extra) // size))
    seen = np.zeros((at.q_len, at.kv_len), bool)
    for i, p in enumerate(at.q[:, 0]):
        a = (p - extra) // size
        if 0 <= p < extra or (etc is None and a in (0, n - 1)):
            seen[i] = True
            continue
        known = {0, n - 1} if etc is None else set()
        if 0 <= a < n:
            known |= {a - 1, a, a + 1}
            known = {b for b in known if 0 <= b < n}
            rest = [b for b in range(n) if b not in known]
            key = mix(mix(seed) ^ at.head) ^ int(a)
            drawn = []
            for j in range(max(0, len(rest) - r), len(rest)):
                draw = mix((mix(key) + j) & M64) % (j + 1)
                drawn.append(j if draw in drawn else draw)
            known |= {rest[d] for d in drawn}
        seen[i] = np.isin((at.k[0] - extra) // size, sorted(known)) | (at.k[0] < extra)
    return seen


def by_position():
    """(text, function) of the rules that ask positions only."""
    yield "causal", causal
    for left, right in [(0, 0), (2, 0), (1, 3), (None, 1), (2, None), (None, None), (9, 9)]:
        yield f"window({left}, {right})", lambda at, a=left, b=right: window(at, a, b)
    yield "mistral(1)", lambda at: window(at, 0, 0)
    yield "mistral(3)", lambda at: window(at, 2, 0)
    yield "hf_bidirectional(2)", lambda at: window(at, 2, 2)
    for n in (0, 1, 3, 99):
        yield f"prefix({n})", lambda at, n=n: prefix(at, n)
    for n in (1, 3, 4, 50):
        yield f"chunked({n})", lambda at, n=n: chunked(at, n)
    for w, step in [(0, 1), (1, 2), (2, 3), (9, 1), (2, 100)]:
        yield f"dilated({w}, {step})", lambda at, w=w, s=step: dilated(at, w, s)
    for tokens in ([], [0], [4, 1], [0, 1, 2, 3, 3, 99]):
        yield f"global_tokens({tokens})", lambda at, t=tokens: global_tokens(at, t)


def logic():
    """Joined rules, by position."""
    yield "~causal", lambda at: ~causal(at)
    yield "causal & window(2, 0)", lambda at: causal(at) & window(at, 2, 0)
    yield "window(1, 0) | ~prefix(2)", lambda at: window(at, 1, 0) | ~prefix(at, 2)
    yield "(causal | window(0, 2)) & ~(chunked(3) & causal)", lambda at: (
        causal(at) | window(at, 0, 2)
    ) & ~(chunked(at, 3) & causal(at))
    yield "causal | window(0, 2) & global_tokens([1])", lambda at: causal(at) | (
        window(at, 0, 2) & global_tokens(at, [1])
    )
    yield "longformer(4, [2])", lambda at: window(at, 2, 2) | global_tokens(at, [2])
    yield "longformer(2)", lambda at: window(at, 1, 1)
    yield "longformer(4, global_tokens=[0], dilation=2)", lambda at: dilated(
        at, 2, 2
    ) | global_tokens(at, [0])


def plain_cases(random):
    for q_len, kv_len in [(1, 1), (1, 9), (5, 5), (2, 5), (5, 2), (7, 11), (11, 7), (3, 0), (0, 3)]:
        at = At(q_len, kv_len)
        yield at, "all", np.ones((q_len, kv_len), bool)
        yield at, "none", np.zeros((q_len, kv_len), bool)
        yield at, 'causal(corner="top_left")', causal(at, True)
        for text, rule in [*by_position(), *logic()]:
            yield at, text, at.everywhere(rule(at))
    for position in (-3, 0, 4, 100):  # positions that the call gives
        at = At(4, 6, position)
        for text, rule in [*by_position(), *logic()]:
            yield at, text, at.everywhere(rule(at))
        yield at, 'causal(corner="top_left")', causal(at, True)
    for q_len, kv_len in [(6, 6), (3, 8), (8, 3)]:  # positions that the mask gives
        q, k = random.integers(-2, 9, q_len).tolist(), random.integers(-2, 9, kv_len).tolist()
        at = At(q_len, kv_len)
        for text, rule in [*by_position(), *logic()]:
            yield at, f"({text}) & positions({q}, {k})", rule(at.placed(q, k))
            yield at, f"positions({q}) & ({text})", rule(at.placed(q, range(kv_len)))
        top_left = 'causal(corner="top_left")'
        yield at, f"{top_left} & positions({q}, {k})", causal(at, True)  # counts tokens
        yield at, f"positions({q}, {k})", np.ones((q_len, kv_len), bool)


def list_cases(random):
    for q_len, kv_len in [(6, 6), (4, 9), (9, 4)]:
        at = At(q_len, kv_len)
        q_ids, kv_ids = random.integers(0, 3, q_len).tolist(), random.integers(0, 3, kv_len).tolist()
        yield at, f"documents({q_ids}, {kv_ids})", documents(at, q_ids, kv_ids)
        yield at, f"causal & documents({q_ids}, {kv_ids})", causal(at) & documents(at, q_ids, kv_ids)
        keep = random.integers(0, 2, kv_len).tolist()
        yield at, f"padding({keep})", padding(at, keep)
        yield at, f"causal & padding({keep})", causal(at) & padding(at, keep)
        index = np.sort(random.integers(0, 3, q_len)).tolist()
        yield at, f"media({index}, 2)", media(at, index, 2, False)
        text = f'media({index}, 2, mode="all_previous")'
        yield at, text, media(at, index, 2, True)
        lists = [[0], [1, 0], [], [1], [0]][: -(-q_len // 2)]
        yield at, f"blocks(2, {lists})", blocks(at, 2, lists)
    ids = [0, 0, 1, 1, 1, 7]
    yield At(6, 6), f"causal & documents({ids})", causal(At(6, 6)) & documents(None, ids, ids)
    for parents in ([-1, 0, 0, 1, 1, 2], [3, 0, -1, -1, 2], [-1, -1, -1]):
        for context in (0, 4):
            at = At(len(parents), len(parents) + context)
            yield at, f"tree({parents})", tree(at, parents)
    for head in range(2):
        at = At(5, 7, head=head)
        lists = [[[0], [2, 1]], [[3, 0], []]]
        yield at, f"blocks(3, {[[[0], [2, 1]], [[2, 0], []]]})", blocks(
            at, 3, [[[0], [2, 1]], [[2, 0], []]][head]
        )
        yield at, "dilated(2, [1, 3])", dilated(at, 2, [1, 3][head])
        yield at, "longformer(4, [1], dilation=[1, 2])", dilated(
            at, 2, [1, 2][head]
        ) | global_tokens(at, [1])
    for shape in [(1, 1, 4, 6), (2, 3, 4, 6), (2, 1, 4, 6), (1, 3, 1, 6), (2, 3, 4, 1)]:
        seen = random.integers(0, 2, shape).astype(bool)
        bits = base64.b64encode(np.packbits(seen, bitorder="little").tobytes()).decode()
        full = np.broadcast_to(seen, (2, 3, 4, 6))
        for batch in range(2):
            for head in range(3):
                at = At(4, 6, batch=batch, head=head)
                yield at, f'dense({list(shape)}, "{bits}")', full[batch, head]
                yield at, f'causal & ~dense({list(shape)}, "{bits}")', causal(at) & ~full[batch, head]


def batch_cases(random):
    q_lens, kv_lens = [5, 2, 0, 3], [7, 7, 4, 1]
    text = f"lengths({q_lens}, {kv_lens})"
    for batch, (q_n, kv_n) in enumerate(zip(q_lens, kv_lens)):
        at = At(5, 7, batch=batch)
        inside = lengths(at, q_n, kv_n)
        moved = At(5, 7, kv_n - q_n, batch)  # bottom-right counts the lengths, not the padded shape
        yield at, text, inside
        for rule_text, rule in [*by_position(), *logic()]:
            yield at, f"({rule_text}) & {text}", inside & rule(moved)
        yield at, f'{text} & causal(corner="top_left")', inside & causal(moved, True)
        ids = random.integers(0, 2, (4, 7)).tolist()
        yield at, f"padding({ids})", padding(at, ids[batch])
        tokens = random.integers(0, 7, (4, 2)).tolist()
        yield at, f"window(1, 0) | global_tokens({tokens})", window(at, 1, 0) | global_tokens(
            at, tokens[batch]
        )
        q_ids = random.integers(0, 2, (4, 5)).tolist()
        yield at, f"documents({q_ids}, {ids})", documents(at, q_ids[batch], ids[batch])
        yield at, f"documents({q_ids}, {ids[0]})", documents(at, q_ids[batch], ids[0])
        index = random.integers(0, 4, (4, 5)).tolist()
        yield at, f"media({index}, 2)", media(at, index[batch], 2, False)
        parents = [[-1, 0, 1, 2, 3], [-1, -1, 0, 1, 0], [1, 2, 3, 4, -1], [-1, 0, 0, 0, 0]]
        yield at, f"tree({parents})", tree(at, parents[batch])
        q = random.integers(-2, 9, (4, 5)).tolist()
        yield at, f"causal & positions({q})", causal(at.placed(q[batch], range(7)))


def packed_cases():
    for cu_q, cu_kv in [
        ([0, 3, 7], [0, 3, 7]),
        ([0, 2, 2, 6, 9], [0, 5, 6, 6, 9]),
        ([0, 0, 4], [0, 1, 3]),
        ([0], [0]),
        ([0, 4, 8, 12], [0, 2, 10, 12]),
    ]:
        at = At(cu_q[-1], cu_kv[-1])
        text = f"packed({cu_q})" if cu_q == cu_kv else f"packed({cu_q}, {cu_kv})"
        yield at, text, packed(at, cu_q, cu_kv, lambda one: np.array([[True]]))
        for rule_text, rule in [*by_position(), *logic()]:
            yield at, f"{text} & ({rule_text})", packed(at, cu_q, cu_kv, rule)
        top_left = packed(at, cu_q, cu_kv, lambda one: causal(one, True))
        yield at, f'{text} & causal(corner="top_left")', top_left


def bigbird_cases():
    for q_len, kv_len in [(24, 24), (23, 23), (9, 24), (24, 9), (4, 4)]:
        for head in range(2):
            at = At(q_len, kv_len, head=head)
            for size, r, seed in [(2, 3, 0), (3, 1, 7), (1, 2, 1), (64, 3, 0), (4, 0, 5)]:
                yield at, f"bigbird({size}, {r}, {seed})", bigbird(at, size, r, seed)
            text = 'bigbird(2, 2, 3, layout="etc", num_global_tokens=5)'
            yield at, text, bigbird(at, 2, 2, 3, etc=5)
            text = 'bigbird(3, 1, 3, layout="etc", num_global_tokens=0)'
            yield at, text, bigbird(at, 3, 1, 3, etc=0)
    at = At(12, 12, batch=1)
    short = At(12, 8, 2, batch=1)  # 6 queries, 8 keys: the last block is that of the lengths
    seen = np.zeros((12, 12), bool)
    seen[:6, :8] = bigbird(short, 2, 1, 9)[:6]
    yield at, "bigbird(2, 1, 9) & lengths([12, 6], [12, 8])", seen


def main():
    path = pathlib.Path(__file__).parent.parent / "src/mask/testdata/goldens.txt"
    random = np.random.default_rng(5)
    with path.open("w") as out:
        for cases in (
            plain_cases(random),
            list_cases(random),
            batch_cases(random),
            packed_cases(),
            bigbird_cases(),
        ):
            for at, text, seen in cases:
                assert seen.shape == (at.q_len, at.kv_len), text
                print("case", at.batch, at.head, at.q_len, at.kv_len, at.first, text, file=out)
                for row in seen.astype(int):
                    print("".join(map(str, row)), file=out)


if __name__ == "__main__":
    main()
