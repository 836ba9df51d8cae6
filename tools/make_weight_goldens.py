#!/usr/bin/env python3
"""Writes src/tensor/testdata/weight_types.txt: blocks of each GGUF weight type and what `gguf` makes of them.

usage: make_weight_goldens.py (needs numpy and gguf). A line a type: name, hex of two blocks, values.
"""
import pathlib

import gguf
import numpy as np

ROOT = pathlib.Path(__file__).resolve().parent.parent
TYPES = ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K", "F16", "BF16"]
# Where the f16 scales of a block stand: they get tame values, everything else is random bits.
HALVES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q4_K": [0, 2], "Q5_K": [0, 2],
          "Q6_K": [208], "F16": [0], "BF16": []}


def main() -> None:
    random = np.random.default_rng(1)
    lines = []
    for name in TYPES:
        kind = gguf.GGMLQuantizationType[name]
        elements, size = gguf.GGML_QUANT_SIZES[kind]
        blocks = random.integers(0, 256, (2, size), dtype=np.uint8)
        for at in HALVES[name]:
            blocks[:, at:at + 2] = random.normal(0, 0.1, 2).astype(np.float16)[:, None].view(np.uint8)
        if name == "BF16":
            blocks = (random.normal(0, 1, 2).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)
            blocks = blocks[:, None].view(np.uint8)
        values = gguf.dequantize(blocks, kind).reshape(-1)
        assert values.size == 2 * elements
        lines.append(f"{name} {blocks.tobytes().hex()} " + " ".join(f"{v:.9g}" for v in values))
    path = ROOT / "src/tensor/testdata/weight_types.txt"
    path.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
