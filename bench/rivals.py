#!/usr/bin/env python3
"""raptly beside PyTorch and transformers on the same shapes, turn by turn in one sitting: the best of each.

usage: rivals.py [--case NAME ...] [--threads N] [--rounds N] [--build DIR] [--json FILE] [--markdown FILE]
       rivals.py --sweep --json FILE --plot FILE.png     time against length, every mechanism (or --case NAME)
       rivals.py --gemm                      the GEMM of standard attention, our baseline, beside torch.mm
Needs torch, transformers for hf-*, matplotlib for --plot. --case: names of `raptly bench attention`, or parts
of them; rival_kernels.py says what runs beside them. --gemm needs a build with RAPTLY_BENCH=ON and counts
packing as ours. --plot without --sweep draws what --json FILE holds; --sweep keeps its rows
of other mechanisms.
"""
import argparse
import json
import os
import subprocess
import sys
import time

import torch

from rival_kernels import rivals_of

RIVALS = ("sdpa", "math", "flex", "hf-longformer", "hf-bigbird")
DEFAULT_CASES = (
    "full-4k-d64", "causal-4k-d64", "causal-4k-d128", "gqa-2k-d128", "cross-512x8k-d64", "window-512-16k-d64",
    "longformer-16k-d64", "bigbird-16k-d64", "prefix-4k-d64", "documents-4k-d64", "alibi-4k-d64",
    "dense-bias-4k-d64", "odd-dims-2k-d80", "llama2-70b-2k", "mistral-7b-8k", "falcon-7b-2k",
    "backward-causal-4k-d64", "bf16-causal-4k-d64", "decode-8k-gqa4-f32", "decode-8k-gqa4-bf16")  # fmt: skip
SWEEP_MASKS = {
    "full": "all",
    "causal": "causal",
    "window 512": "causal & window(511, 0)",
    "longformer": "longformer(512, [0])",
    "bigbird": "bigbird(64, 3, 0)",
}
SWEEP_LENGTHS = (512, 1024, 2048, 4096, 8192, 16384)


def best_ms(run, seconds):
    """Best of the runs that fit, after a warm-up; a run longer than that is its own."""
    best, total, n = float("inf"), 0.0, -1
    while n < 2 or (total < seconds and n < 2000):
        start = time.perf_counter()
        run()
        t = time.perf_counter() - start
        if n >= 0 or t > seconds:
            best, total = min(best, t), total + t
        n += 1 if t < 4 * seconds else 2
    return best * 1e3


def raptly_bench(args, *more):
    command = [f"{args.build}/raptly", "bench", "attention", "-t", str(args.threads), "--json", "--seconds",
               str(args.seconds), *more]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr or f"{' '.join(command)} failed")
    return json.loads(done.stdout)


def run_turns(args, ours):
    """Rounds of raptly, then each rival. ours: the arguments that make `raptly bench attention` run one case."""
    row, runs, times = None, None, {}
    for _ in range(args.rounds):
        time.sleep(0.3)  # OpenMP's threads of the last rival still spin
        case = raptly_bench(args, *ours)[0]
        runs = runs if runs is not None else rivals_of(case, args.rivals)
        if row is None or case["ms"] < row["raptly"]:
            row = case | {"raptly": case["ms"]}
        for name, run in runs.items():
            try:
                times[name] = min(best_ms(run, args.seconds), times.get(name, float("inf")))
            except Exception as error:  # noqa: BLE001: what PyTorch has no kernel for is a result, too
                times[f"{name} error"] = f"{type(error).__name__}: {error}"[:200]
        print(f"  {case['case']:24} raptly {case['ms']:.2f}  " + "  ".join(
            f"{k} {t if isinstance(t, str) else round(t, 2)}" for k, t in times.items()), file=sys.stderr, flush=True)
    return row | times


def compare_cases(args):
    names = subprocess.run([f"{args.build}/raptly", "bench", "attention", "--list"], capture_output=True, text=True,
                           check=True).stdout.split()
    wanted = [n for n in DEFAULT_CASES if n in names]
    if args.case:
        wanted = [n for part in args.case for n in ([part] if part in names else [n for n in names if part in n])]
    rows = [run_turns(args, ("--case", name)) for name in wanted]
    write_table(rows, sys.stdout)
    if args.markdown:
        with open(args.markdown, "w") as out:
            write_table(rows, out)
    return rows


def write_table(rows, out):
    """Milliseconds of raptly, and how many times longer each rival takes."""
    names = [r for r in RIVALS if any(r in row for row in rows)]
    print("| case | threads | raptly ms | share of peak | MB extra |" + "".join(f" {n} |" for n in names), file=out)
    print("|---|---|---|---|---|" + "---|" * len(names), file=out)
    for row in rows:
        cells = [f"{row[n] / row['raptly']:.2f}x" if n in row else "" for n in names]
        extra = f"{row['extra_mb']:.1f}" if "extra_mb" in row else ""
        print(f"| {row['case']} | {row['threads']} | {row['raptly']:.3f} | {100 * row['ratio']:.1f} % | {extra} |"
              + "".join(f" {c} |" for c in cells), file=out)


def sweep(args):
    rows, wanted = [], args.rivals
    for mechanism, mask in SWEEP_MASKS.items():
        if args.case and mechanism not in args.case:
            continue
        for n in SWEEP_LENGTHS:
            # FlexAttention is compiled for each shape; three are enough for a line.
            args.rivals = [r for r in wanted if r != "flex" or n in (1024, 4096, 16384)]
            ours = ("--mask", mask, "--q", str(n), "--kv", str(n), "--heads", str(args.heads), "--head-dim", "64",
                    "--alone")
            row = run_turns(args, ours)
            rows.append({"mechanism": mechanism, "length": n, "heads": args.heads, "threads": args.threads}
                        | {k: row[k] for k in ("raptly", *RIVALS) if k in row})
    return rows


def compare_gemm(args):
    command = [f"{args.build}/raptly_kernels_bench", f"--benchmark_filter=gemm/.*/{args.threads}/min_time",
               "--benchmark_format=json"]
    rows = {}
    for _ in range(args.rounds):
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        for ours in json.loads(done.stdout)["benchmarks"]:
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


def draw(rows, file):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    mechanisms = list(dict.fromkeys(row["mechanism"] for row in rows))
    styles = {"raptly": ("#c0392b", "o", 2.4), "sdpa": ("#2c3e50", "s", 1.3), "math": ("#7f8c8d", "v", 1.3),
              "flex": ("#2980b9", "^", 1.3), "hf-longformer": ("#27ae60", "D", 1.3), "hf-bigbird": ("#8e44ad", "P", 1.3)}
    figure, axes = plt.subplots(1, len(mechanisms), figsize=(3.4 * len(mechanisms), 4.2), sharey=True, squeeze=False)
    axes = axes[0]
    for axis, mechanism in zip(axes, mechanisms):
        ours = [row for row in rows if row["mechanism"] == mechanism]
        for name, (color, marker, width) in styles.items():
            points = [(row["length"], row[name]) for row in ours if name in row]
            if points:
                axis.plot(*zip(*points), label=name, color=color, marker=marker, linewidth=width, markersize=5)
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        axis.set_xticks(SWEEP_LENGTHS, [f"{n // 1024}k" if n >= 1024 else str(n) for n in SWEEP_LENGTHS])
        axis.set_title(mechanism)
        axis.set_xlabel("length")
        axis.grid(True, which="major", alpha=0.3)
        axis.legend(fontsize=8)
    axes[0].set_ylabel("milliseconds")
    figure.suptitle(f"Attention forward, f32, {rows[0]['heads']} heads, D 64, {rows[0]['threads']} threads", y=0.98)
    figure.tight_layout()
    figure.savefig(file, dpi=110)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", default=[])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--build", default="build/release")
    parser.add_argument("--rivals", type=lambda text: text.split(","), default=list(RIVALS), help="of " + ", ".join(RIVALS))
    parser.add_argument("--heads", type=int, default=2, help="of the sweep")
    parser.add_argument("--gemm", action="store_true")
    parser.add_argument("--sweep", action="store_true")
    parser.add_argument("--plot")
    parser.add_argument("--markdown")
    parser.add_argument("--json")
    args = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    if args.plot and not args.sweep:
        with open(args.json) as rows:
            return draw(json.load(rows), args.plot)
    with torch.inference_mode():
        rows = compare_gemm(args) if args.gemm else sweep(args) if args.sweep else compare_cases(args)
    if args.sweep and args.json and os.path.exists(args.json):
        done = {row["mechanism"] for row in rows}
        with open(args.json) as old:
            rows = [row for row in json.load(old) if row["mechanism"] not in done] + rows
        rows.sort(key=lambda row: (list(SWEEP_MASKS).index(row["mechanism"]), row["length"]))
    if args.json:
        with open(args.json, "w") as out:
            json.dump(rows, out, indent=1)
    if args.plot:
        draw(rows, args.plot)


if __name__ == "__main__":
    main()
