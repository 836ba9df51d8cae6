#!/usr/bin/env python3
"""File sizes and house words: no source above 800 lines, no promise left open, ASCII in C++.

Function sizes (60 lines, 6 parameters) are clang-tidy's readability-function-size.
"""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
LIMIT = 800
SOURCES = (".cc", ".h", ".py", ".sh", ".cmake")
PROMISES = re.compile(r"\b(" + "|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"]) + r")\b")


def faults_of(name: str, text: str) -> list[str]:
    lines = text.count("\n")
    faults = [f"{name}: {lines} lines, at most {LIMIT}"] if lines > LIMIT else []
    if not text.isascii() and name.endswith((".cc", ".h")) and not name.endswith("_test.cc"):
        faults.append(f"{name}: not ASCII")
    for number, line in enumerate(text.splitlines(), 1):
        if PROMISES.search(line):
            faults.append(f"{name}:{number}: a promise left open: {line.strip()[:60]}")
    return faults


def main() -> int:
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT,
                            capture_output=True, text=True, check=True).stdout.split("\n")
    faults, lengths = [], []
    for name in filter(None, listed):
        path = ROOT / name
        if path.is_file() and (name.endswith(SOURCES) or name == "dev"):
            text = path.read_text(errors="replace")
            lengths.append(text.count("\n"))
            faults += faults_of(name, text)
    lengths.sort()
    if faults:
        print("\n".join(faults))
        return 1
    print(f"sizes: {len(lengths)} files, {sum(lengths)} lines, median {lengths[len(lengths) // 2]}, "
          f"90 % below {lengths[len(lengths) * 9 // 10]}, largest {lengths[-1]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
