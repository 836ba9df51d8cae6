#!/usr/bin/env python3
"""Does raptly compute what transformers computes from the same GGUF in f32?

usage: compare_transformers.py RAPTLY MODEL.gguf TEXT_FILE [--positions 2048]
Needs torch, transformers, accelerate and gguf. Checks, and exits 1 where one fails:
  --exact   max |logit difference| <= 2e-3 over 10 prompts of 1-700 tokens cut from the text
            64 greedy tokens equal for at least 9 of them (both continue from the same ids)
  default   over the positions of prose: mean KL divergence <= 3e-4 (a tenth of llama.cpp's), top-1
            agreement >= 99.5 %
  both      perplexity of windows of 1,024 tokens: exact within 0.01 %, default within 0.05 %
"""
import argparse
import json
import pathlib
import subprocess
import tempfile

import numpy as np
import torch
import transformers

LENGTHS = [1, 2, 7, 16, 33, 64, 129, 257, 512, 700]
WINDOW = 1024


class Raptly:
    def __init__(self, program: str, model: str):
        self.program, self.model = program, model

    def run(self, *arguments: str, text: str | None = None) -> bytes:
        done = subprocess.run([self.program, *arguments], input=None if text is None else text.encode(),
                              capture_output=True)
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(arguments)[:200]}: {done.stderr.decode()}")
        return done.stdout

    def tokenize(self, text: str) -> list[int]:
        return json.loads(self.run("tokenize", self.model, "-", text=text))

    def logits(self, ids: list[int], *options: str) -> torch.Tensor:
        with tempfile.NamedTemporaryFile(suffix=".npy") as file:
            self.run("logits", self.model, "--tokens", ",".join(map(str, ids)), "-o", file.name, *options)
            return torch.from_numpy(np.load(file.name))

    def perplexity(self, path: str, *options: str) -> float:
        return json.loads(self.run("perplexity", self.model, path, *options))["perplexity"]


def reference_logits(model, ids: list[int]) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0]


def reference_greedy(model, ids: list[int], n: int) -> list[int]:
    out, cache, step = [], None, ids
    for _ in range(n):
        with torch.no_grad():
            result = model(torch.tensor([step]), past_key_values=cache, use_cache=True)
        cache, step = result.past_key_values, [int(result.logits[0, -1].argmax())]
        out += step
    return out


def nll(logits: torch.Tensor, ids: list[int]) -> float:
    scores = torch.log_softmax(logits[:-1].double(), -1)
    return -scores[torch.arange(len(ids) - 1), torch.tensor(ids[1:])].sum().item()


def check_prompts(raptly: Raptly, model, ids: list[int]) -> bool:
    worst, agreed = 0.0, 0
    for i, n in enumerate(LENGTHS):
        prompt = ids[100 * i:100 * i + n]
        delta = (raptly.logits(prompt, "--exact") - reference_logits(model, prompt)).abs().max().item()
        # One pass over prompt and continuation says whether greedy would have gone the same way.
        continuation = reference_greedy(model, prompt, 64)
        rows = raptly.logits(prompt + continuation[:-1], "--exact")[n - 1:]
        same = rows.argmax(-1).tolist() == continuation
        print(f"exact, prompt of {n:3} tokens: max |difference| {delta:.2e}, 64 greedy tokens "
              f"{'equal' if same else 'differ'}")
        worst, agreed = max(worst, delta), agreed + same
    print(f"exact: max |difference| {worst:.2e} (<= 2e-3), greedy equal for {agreed} of 10 (>= 9)")
    return worst <= 2e-3 and agreed >= 9


def check_prose(raptly: Raptly, model, ids: list[int]) -> bool:
    kl, top, reference_nll, scored = 0.0, 0, 0.0, 0
    for start in range(0, len(ids), WINDOW):
        window = ids[start:start + WINDOW]
        logits = reference_logits(model, window)
        p = torch.log_softmax(logits.double(), -1)
        q = torch.log_softmax(raptly.logits(window).double(), -1)
        kl += (p.exp() * (p - q)).sum().item()
        top += (p.argmax(-1) == q.argmax(-1)).sum().item()
        reference_nll += nll(logits, window)
        scored += len(window) - 1
    print(f"default: mean KL {kl / len(ids):.2e} (<= 3.0e-4), top-1 {100 * top / len(ids):.2f} % (>= 99.5 %) "
          f"of {len(ids)} positions")
    good = kl / len(ids) <= 3.0e-4 and top / len(ids) >= 0.995
    return good & check_perplexity(raptly, ids, float(np.exp(reference_nll / scored)))


def check_perplexity(raptly: Raptly, ids: list[int], reference: float) -> bool:
    # Only a text whose tokens are exactly these ids can be compared; tokens of a text's start are.
    text = raptly.run("tokenize", raptly.model, "-", "--decode", text=json.dumps(ids)).decode()
    if raptly.tokenize(text) != ids:
        raise SystemExit("the cut text has other tokens than the text; choose another --positions")
    good = True
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(text)
        file.flush()
        for options, bound in ([["--exact"], 1e-4], [[], 5e-4]):
            value = raptly.perplexity(file.name, *options)
            error = abs(value / reference - 1)
            print(f"perplexity {' '.join(options) or 'default'}: {value:.5f}, transformers {reference:.5f}, "
                  f"off by {100 * error:.4f} % (<= {100 * bound:.2f} %)")
            good &= error <= bound
    return good


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("raptly")
    parser.add_argument("model")
    parser.add_argument("text")
    parser.add_argument("--positions", type=int, default=2048)
    args = parser.parse_args()
    path = pathlib.Path(args.model).resolve()
    model = transformers.AutoModelForCausalLM.from_pretrained(
        str(path.parent), gguf_file=path.name, dtype=torch.float32)
    model.eval()
    raptly = Raptly(args.raptly, args.model)
    ids = raptly.tokenize(pathlib.Path(args.text).read_text())[:args.positions]
    if len(ids) < args.positions:
        raise SystemExit(f"the text has {len(ids)} tokens, {args.positions} are wanted")
    good = check_prompts(raptly, model, ids)
    good &= check_prose(raptly, model, ids)
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
