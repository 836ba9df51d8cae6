#!/usr/bin/env python3
"""Writes src/attention/testdata/hf_layers.txt: outputs of transformers' Longformer and BigBird layers.

Hidden states and weights are a hash that src/attention/hf_layers_test.cc computes too, so only the
outputs are kept. A case is four lines: its numbers, the attention mask of each batch entry (digits),
and every stride-th row of the output as base64 of f32 [batch, rows, n_heads * head_dim].

    python tools/make_attention_goldens.py            # needs torch and transformers
"""
import base64
import pathlib

import numpy as np
import torch
from transformers import BigBirdConfig, LongformerConfig
from transformers.models.big_bird.modeling_big_bird import BigBirdBlockSparseAttention, BigBirdModel
from transformers.models.longformer.modeling_longformer import LongformerSelfAttention

OUT = pathlib.Path(__file__).resolve().parent.parent / "src/attention/testdata/hf_layers.txt"


def noise(seed: int, shape) -> torch.Tensor:
    """Numbers in [-1, 1) that are exact in f32."""
    i = np.arange(int(np.prod(shape)), dtype=np.uint64)
    with np.errstate(over="ignore"):
        x = (i + np.uint64(seed * 1000003)) * np.uint64(0x9E3779B97F4A7C15)
        x ^= x >> np.uint64(29)
        x *= np.uint64(0xBF58476D1CE4E5B9)
        x ^= x >> np.uint64(32)
    return torch.from_numpy(((x >> np.uint64(40)).astype(np.float32) / 2**23 - 1).reshape(shape))


def set_weights(layer, names):
    for n, name in enumerate(names):
        linear = getattr(layer, name)
        with torch.no_grad():
            linear.weight.copy_(noise(10 + n, linear.weight.shape))
            linear.bias.copy_(noise(30 + n, linear.bias.shape) / 4)


def pad(hidden, mask, multiple):
    """As the models pad a batch: more tokens, masked. Their hidden states are not zero."""
    extra = -hidden.shape[1] % multiple
    hidden = torch.cat([hidden, noise(99, (hidden.shape[0], extra, hidden.shape[2]))], 1)
    return hidden, torch.nn.functional.pad(mask, (0, extra))


def longformer(hidden, mask, n_heads, window):
    config = LongformerConfig(hidden_size=hidden.shape[2], num_attention_heads=n_heads,
                              attention_window=[window], attention_probs_dropout_prob=0.0)
    layer = LongformerSelfAttention(config, 0).eval()
    set_weights(layer, ["query", "key", "value", "query_global", "key_global", "value_global"])
    hidden, mask = pad(hidden, mask, window)
    extended = (1.0 - mask.float()) * torch.finfo(torch.float32).min
    extended = torch.where(mask == 1, torch.zeros_like(extended), extended)
    return layer(hidden, attention_mask=extended, is_index_masked=extended < 0,
                 is_index_global_attn=extended > 0, is_global_attn=bool((extended > 0).any()))[0]


def bigbird(hidden, mask, n_heads, block, n_random, seed):
    config = BigBirdConfig(hidden_size=hidden.shape[2], num_attention_heads=n_heads, use_bias=True,
                           block_size=block, num_random_blocks=n_random, max_position_embeddings=4096)
    layer = BigBirdBlockSparseAttention(config, seed=seed).train(seed is not None)
    set_weights(layer, ["query", "key", "value"])
    hidden, mask = pad(hidden, mask, block)
    blocked, band, rows, keys = BigBirdModel.create_masks_for_block_sparse_attn(mask, block)
    return layer(hidden, band, rows, keys, blocked, blocked)[0]


def mask_of(seq, batch, n_global, padded):
    mask = torch.ones(batch, seq, dtype=torch.long)
    for b in range(batch):
        for i in range(n_global + b if n_global else 0):
            mask[b, (i * 17 + b * 5) % seq] = 2
        for start, stop in padded[b] if b < len(padded) else []:
            mask[b, start:stop] = 0
    return mask


def main():
    lines = []

    def add(kind, mask, n_heads, head_dim, numbers, layer, stride=1):
        batch, seq = mask.shape
        hidden = noise(1, (batch, seq, n_heads * head_dim))
        with torch.no_grad():
            out = layer(hidden, mask, n_heads, *numbers)[:, :seq:stride]
        lines.append(f"{kind} {batch} {seq} {n_heads} {head_dim} {stride} "
                     + " ".join(str(-1 if n is None else n) for n in numbers))
        lines.append(" ".join("".join(map(str, row.tolist())) for row in mask))
        lines.append(base64.b64encode(out.contiguous().numpy().astype("<f4").tobytes()).decode())

    none = []
    add("longformer", mask_of(64, 1, 0, none), 2, 8, [8], longformer)
    add("longformer", mask_of(61, 2, 3, [[(50, 61)], [(0, 4), (20, 23)]]), 2, 8, [12], longformer)
    add("longformer", mask_of(150, 2, 1, [[], [(131, 150)]]), 3, 4, [32], longformer, 3)
    add("longformer", mask_of(96, 1, 20, none), 1, 16, [4], longformer)
    add("bigbird", mask_of(64, 2, 0, [[], [(41, 64)]]), 2, 8, [4, 2, None], bigbird)
    add("bigbird", mask_of(131, 2, 0, [[(0, 9)], [(60, 70), (120, 131)]]), 2, 4, [8, 3, None], bigbird, 2)
    add("bigbird", mask_of(131, 1, 0, none), 2, 4, [8, 3, 5], bigbird, 2)
    add("bigbird", mask_of(50, 2, 0, [[(47, 50)]]), 3, 4, [4, 1, 0], bigbird)
    add("bigbird", mask_of(1024, 1, 0, none), 2, 4, [64, 3, 2], bigbird, 16)
    add("bigbird", mask_of(1024, 1, 0, [[(1000, 1024)]]), 2, 4, [64, 3, None], bigbird, 16)
    add("bigbird", mask_of(3072, 1, 0, none), 2, 4, [64, 2, 7], bigbird, 64)
    OUT.parent.mkdir(exist_ok=True)
    OUT.write_text("\n".join(lines) + "\n")
    print(OUT, OUT.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
