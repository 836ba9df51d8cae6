#!/usr/bin/env python3
"""Writes what examples/train_char.cc is tested with: its text, and the losses of the same model in PyTorch.

usage: make_train_golden.py DIRECTORY     writes train_char.txt and train_char_losses.txt
Text: sentences of a small grammar whose people and numbers return later, so that three characters do not
tell the next one. Losses: 200 steps from the same weights and batches, attention materialised, autograd.
"""
import random
import sys

import numpy as np
import torch

LAYERS, DIM, HEADS, HIDDEN, BATCH, LENGTH, STEPS = 2, 64, 4, 256, 8, 96, 200


def make_text(n):
    rng = random.Random(7)
    names = ["Ada", "Bela", "Cem", "Dora", "Emil", "Fay", "Gus", "Hana", "Ivo", "Jun"]
    things = ["stones", "maps", "pears", "coins", "boats", "keys", "shells", "lamps"]
    places = ["the mill", "the harbour", "the old bridge", "the market", "the north tower"]
    text = []
    while sum(map(len, text)) < n:
        (a, b), (x, y), p = rng.sample(names, 2), rng.sample(things, 2), rng.choice(places)
        i, j = rng.randint(3, 9), rng.randint(1, 9)
        k = rng.randint(1, i - 1)
        text.append(f"{a} has {i} {x} and {j} {y}. {a} meets {b} at {p} and gives away {k} {x}. "
                    f"Now {a} has {i - k} {x} and still {j} {y}, and {b} has {k} {x}. "
                    f"{rng.choice([a, b])} leaves {p} {rng.choice(['at noon', 'in the rain', 'by night'])}.\n")
    return "".join(text)


class Random:
    def __init__(self):
        self.state = 0x2545F4914F6CDD1D

    def bits(self):
        s = self.state
        s ^= (s << 13) & 0xFFFFFFFFFFFFFFFF
        s ^= s >> 7
        s ^= (s << 17) & 0xFFFFFFFFFFFFFFFF
        self.state = s
        return s

    def uniform(self, *shape, width):
        values = [np.float32(self.bits() >> 40) * np.float32(2.0**-24) - np.float32(0.5) for _ in range(int(np.prod(shape)))]
        return torch.tensor(np.array(values, np.float32) * np.float32(2) * np.float32(width)).reshape(shape)

    def below(self, n):
        return (self.bits() >> 33) % n


def parameters(n_symbols):
    rng = Random()
    p = {"embedding": rng.uniform(n_symbols, DIM, width=0.5)}

    def linear(name, n_in, n_out):
        p[name] = rng.uniform(n_in, n_out, width=np.float32(1) / np.sqrt(np.float32(n_in)))

    for layer in range(LAYERS):
        p[f"gain1 {layer}"], p[f"gain2 {layer}"] = torch.ones(DIM), torch.ones(DIM)
        linear(f"qkv {layer}", DIM, 3 * DIM)
        linear(f"out {layer}", DIM, DIM)
        linear(f"up {layer}", DIM, HIDDEN)
        linear(f"down {layer}", HIDDEN, DIM)
        p[f"slopes {layer}"] = 2.0 ** (-8.0 * torch.arange(1, HEADS + 1) / HEADS)
    p["gain"] = torch.ones(DIM)
    linear("head", DIM, n_symbols)
    return {name: t.requires_grad_() for name, t in p.items()}


def norm(x, gain):
    return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5) * gain


def loss_of(p, tokens, targets):
    at = torch.arange(LENGTH)
    distance = (at[:, None] - at[None, :]).abs().float()
    hidden = at[:, None] < at[None, :]
    x = p["embedding"][tokens]
    for layer in range(LAYERS):
        qkv = norm(x, p[f"gain1 {layer}"]) @ p[f"qkv {layer}"]
        q, k, v = (t.reshape(BATCH, LENGTH, HEADS, -1).transpose(1, 2) for t in qkv.split(DIM, -1))
        scores = q @ k.transpose(-1, -2) / (DIM // HEADS) ** 0.5 - p[f"slopes {layer}"][:, None, None] * distance
        out = scores.masked_fill(hidden, float("-inf")).softmax(-1) @ v
        x = x + out.transpose(1, 2).reshape(BATCH, LENGTH, DIM) @ p[f"out {layer}"]
        x = x + torch.nn.functional.silu(norm(x, p[f"gain2 {layer}"]) @ p[f"up {layer}"]) @ p[f"down {layer}"]
    logits = norm(x, p["gain"]) @ p["head"]
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())


def train(text):
    symbols = sorted(set(text))
    data = torch.tensor([symbols.index(c) for c in text])
    n_train = len(text) * 9 // 10
    p, rng = parameters(len(symbols)), Random()
    optimizer = torch.optim.AdamW(p.values(), lr=1e-3, betas=(0.9, 0.99), eps=1e-5, weight_decay=0.01)
    losses = []
    for step in range(STEPS):
        starts = [rng.below(n_train - LENGTH) for _ in range(BATCH)]
        tokens = torch.stack([data[s : s + LENGTH] for s in starts])
        targets = torch.stack([data[s + 1 : s + 1 + LENGTH] for s in starts])
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * min(1.0, (step + 1) / 20.0)
        optimizer.zero_grad()
        loss = loss_of(p, tokens, targets)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def main():
    text = make_text(60000)
    with open(f"{sys.argv[1]}/train_char.txt", "w") as out:
        out.write(text)
    with open(f"{sys.argv[1]}/train_char_losses.txt", "w") as out:
        out.writelines(f"{loss:.6f}\n" for loss in train(text))


if __name__ == "__main__":
    main()
