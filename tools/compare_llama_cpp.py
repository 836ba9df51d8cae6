#!/usr/bin/env python3
"""How far from f32 are raptly and llama.cpp on the same GGUF? Mean KL divergence and top-1 agreement.

usage: compare_llama_cpp.py RAPTLY MODEL.gguf TEXT_FILE [--positions 2048]
Needs torch, transformers, gguf and llama-cpp-python. The reference is transformers running the dequantised
weights in f32; the text is cut into windows of 512 tokens (raptly's own tokenizer), each run from empty.
"""
import argparse
import json
import pathlib
import subprocess
import tempfile

import numpy as np
import torch
import transformers

WINDOW = 512


def tokens_of(raptly: str, model: str, text: str, n: int) -> list[int]:
    out = subprocess.run([raptly, "tokenize", model, "-"], input=text.encode(), capture_output=True, check=True)
    ids = json.loads(out.stdout)
    if len(ids) < n:
        raise SystemExit(f"the text has {len(ids)} tokens, {n} are wanted")
    return ids[:n]


def raptly_logits(raptly: str, model: str, ids: list[int], *options: str) -> np.ndarray:
    with tempfile.NamedTemporaryFile(suffix=".npy") as file:
        subprocess.run([raptly, "logits", model, "--tokens", ",".join(map(str, ids)), "-o", file.name, *options],
                       check=True, capture_output=True)
        return np.load(file.name)


def compare(reference: torch.Tensor, other: np.ndarray) -> tuple[float, float]:
    p = torch.log_softmax(reference.double(), -1)
    q = torch.log_softmax(torch.from_numpy(other).double(), -1)
    kl = (p.exp() * (p - q)).sum(-1)
    return kl.sum().item(), (p.argmax(-1) == q.argmax(-1)).sum().item()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("raptly")
    parser.add_argument("model")
    parser.add_argument("text")
    parser.add_argument("--positions", type=int, default=2048)
    args = parser.parse_args()
    import llama_cpp
    path = pathlib.Path(args.model)
    reference = transformers.AutoModelForCausalLM.from_pretrained(
        str(path.parent), gguf_file=path.name, dtype=torch.float32)
    rival = llama_cpp.Llama(str(path), n_ctx=WINDOW, n_batch=WINDOW, logits_all=True, verbose=False)
    ids = tokens_of(args.raptly, args.model, pathlib.Path(args.text).read_text(), args.positions)
    totals: dict[str, list[float]] = {}
    for start in range(0, len(ids), WINDOW):
        window = ids[start:start + WINDOW]
        with torch.no_grad():
            truth = reference(torch.tensor([window])).logits[0]
        rival.reset()
        rival.eval(window)
        others = {
            "raptly": raptly_logits(args.raptly, args.model, window),
            "raptly --exact": raptly_logits(args.raptly, args.model, window, "--exact"),
            "llama.cpp": np.array(rival.scores[:len(window)]),
        }
        for name, logits in others.items():
            kl, same = compare(truth, logits)
            entry = totals.setdefault(name, [0.0, 0.0])
            entry[0] += kl
            entry[1] += same
    for name, (kl, same) in totals.items():
        print(f"{name:15} mean KL {kl / len(ids):.2e}, top-1 agreement {100 * same / len(ids):.2f} % "
              f"of {len(ids)} positions")


if __name__ == "__main__":
    main()
