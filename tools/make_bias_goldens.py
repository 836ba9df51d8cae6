#!/usr/bin/env python3
"""Writes src/mask/testdata/bias_goldens.txt: ALiBi slopes and T5 buckets as transformers computes them.

usage: make_bias_goldens.py (needs torch and transformers). Lines:
  slopes press|mpt N_HEADS SLOPE...
  t5 BIDIRECTIONAL NUM_BUCKETS MAX_DISTANCE BUCKET...   of k - q = -max_distance - 20 .. max_distance + 20
"""
import pathlib

import torch
from transformers.models.bloom.modeling_bloom import build_alibi_tensor
from transformers.models.mpt.modeling_mpt import build_mpt_alibi_tensor
from transformers.models.t5.modeling_t5 import T5Attention

ROOT = pathlib.Path(__file__).resolve().parent.parent
HEADS = (1, 2, 3, 5, 8, 12, 16, 20, 40, 71, 112)
T5 = ((1, 32, 128), (0, 32, 128), (1, 16, 64), (0, 12, 100), (1, 33, 77), (1, 4, 9), (0, 2, 3), (1, 64, 512))


def main() -> None:
    lines = []
    for n in HEADS:
        keys = torch.tensor([[1, 1]])
        press = build_alibi_tensor(keys, n, torch.float32)[:, 0, 1]  # slope * 1
        mpt = -build_mpt_alibi_tensor(n, 2)[:, 0, 0]  # slope * -1
        for name, slopes in (("press", press), ("mpt", mpt)):
            lines.append(f"slopes {name} {n} " + " ".join(f"{s:.9g}" for s in slopes.tolist()))
    for bidirectional, buckets, distance in T5:
        offsets = torch.arange(-distance - 20, distance + 21)
        answer = T5Attention._relative_position_bucket(offsets, bool(bidirectional), buckets, distance)
        lines.append(f"t5 {bidirectional} {buckets} {distance} " + " ".join(map(str, answer.tolist())))
    (ROOT / "src/mask/testdata/bias_goldens.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
