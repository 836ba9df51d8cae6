#!/usr/bin/env python3
"""raptly beside PyTorch on the same shapes, turn by turn in one sitting: the best of each, the ratio.

usage: rivals.py [--case NAME] [--threads N] [--rounds N] [--build build/release] [--gemm] [--json FILE]
Needs torch. For each case that `raptly bench attention` knows and whose name contains NAME:
  sdpa   scaled_dot_product_attention as a user calls it (flash where PyTorch has it)
  math   its materialised softmax (SDPBackend.MATH)
--gemm compares the GEMM of standard attention, our baseline, with torch.mm; it needs a build with
RAPTLY_BENCH=ON and counts packing as ours.
"""
import argparse
import json
import subprocess
import sys
import time

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}


def best_ms(run, seconds):
    run()
    best, total, n = float("inf"), 0.0, 0
    while n < 2 or (total < seconds and n < 2000):
        start = time.perf_counter()
        run()
        t = time.perf_counter() - start
        best, total, n = min(best, t), total + t, n + 1
    return best * 1e3


def mask_of(case):
    """(attn_mask, is_causal) of a case; None where SDPA has no words for its mask."""
    q, kv = case["q_len"], case["kv_len"]
    if case["mask"] == "all" or q == 1:
        return None, False
    if case["mask"] == "causal" and q == kv:
        return None, True
    if case["mask"] == "causal":
        return torch.ones(q, kv, dtype=torch.bool).tril(kv - q), False
    return None


def rivals_of(case):
    words = mask_of(case)
    if words is None:
        return {}
    mask, causal = words
    # One dtype for all three: SDPA refuses an f32 query beside bf16 keys.
    dtype = DTYPES[case["kv_dtype"]]

    def tensor(n, heads):
        if case["layout"] == "bhsd":
            return torch.randn(case["batch"], heads, n, case["head_dim"]).to(dtype)
        return torch.randn(case["batch"], n, heads, case["head_dim"]).to(dtype).transpose(1, 2)

    q = tensor(case["q_len"], case["n_heads"])
    k, v = (tensor(case["kv_len"], case["n_kv_heads"]) for _ in range(2))
    gqa = case["n_heads"] != case["n_kv_heads"]

    def sdpa():
        torch.nn.functional.scaled_dot_product_attention(q, k, v, mask, is_causal=causal, enable_gqa=gqa)

    def math():
        with sdpa_kernel(SDPBackend.MATH):
            sdpa()

    runs = {"sdpa": sdpa}
    if 4e-9 * case["batch"] * case["n_heads"] * case["q_len"] * case["kv_len"] < 4:
        runs["math"] = math
    return runs


def bench_cases(raptly, args, seconds):
    command = [raptly, "bench", "attention", "--case", args.case, "-t", str(args.threads), "--json",
               "--seconds", str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr or f"no case has {args.case} in its name")
    return json.loads(done.stdout)


def compare_attention(args):
    raptly = f"{args.build}/raptly"
    rows = {}
    for _ in range(args.rounds):
        for case in bench_cases(raptly, args, args.seconds):
            row = rows.setdefault(case["case"], {"case": case["case"], "threads": args.threads})
            times = {"raptly": case["ms"]}
            for name, run in rivals_of(case).items():
                times[name] = best_ms(run, args.seconds)
            for name, ms in times.items():
                row[name] = min(ms, row.get(name, float("inf")))
    print(f"{'case':28} {'raptly ms':>10} {'sdpa':>10} {'math':>10}   sdpa / raptly   math / raptly")
    for row in rows.values():
        cells = [f"{row[k]:10.3f}" if k in row else f"{'-':>10}" for k in ("raptly", "sdpa", "math")]
        ratios = [f"{row[k] / row['raptly']:13.2f}x" if k in row else f"{'-':>14}" for k in ("sdpa", "math")]
        print(f"{row['case']:28} {' '.join(cells)}  {'  '.join(ratios)}")
    return list(rows.values())


def compare_gemm(args):
    command = [f"{args.build}/raptly_kernels_bench", f"--benchmark_filter=gemm/.*/{args.threads}/min_time", "--benchmark_format=json"]
    rows = {}
    for _ in range(args.rounds):
        for ours in json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)["benchmarks"]:
            name = ours["name"].split("/min_time")[0]
            m, n, k = (int(x) for x in name.split("/")[2:5])
            a, b = torch.randn(m, k), torch.randn(n, k).t() if "scores" in name else torch.randn(k, n)
            c = torch.empty(m, n)  # given: or torch.mm is timed with the page faults of a new one
            theirs = 2e-6 * m * n * k / best_ms(lambda: torch.mm(a, b, out=c), args.seconds)
            row = rows.setdefault(name, {"case": name, "raptly": 0.0, "torch.mm": 0.0})
            row["raptly"] = max(row["raptly"], ours["gflops"])
            row["torch.mm"] = max(row["torch.mm"], theirs)
    for row in rows.values():
        print(f"{row['case']:28} {row['raptly']:8.1f} GFLOP/s  torch.mm {row['torch.mm']:8.1f}  "
              f"{100 * row['raptly'] / row['torch.mm']:6.1f} %")
    return list(rows.values())


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", default="")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--build", default="build/release")
    parser.add_argument("--gemm", action="store_true")
    parser.add_argument("--json")
    args = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    with torch.inference_mode():
        rows = compare_gemm(args) if args.gemm else compare_attention(args)
    if args.json:
        with open(args.json, "w") as out:
            json.dump(rows, out, indent=1)


if __name__ == "__main__":
    main()
