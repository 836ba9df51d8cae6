#!/usr/bin/env python3
"""Runs clang-tidy over the library's sources on all cores; prints findings and fails on any.

usage: run_tidy.py BUILD_DIR (one with compile_commands.json). A file whose compile command, sources and
.clang-tidy are unchanged since a clean run is skipped (stamps in BUILD_DIR/tidy).
"""
import concurrent.futures
import hashlib
import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def main() -> int:
    build = pathlib.Path(sys.argv[1])
    stamps = build / "tidy"
    stamps.mkdir(exist_ok=True)
    commands = json.loads((build / "compile_commands.json").read_text())
    headers = sorted((ROOT / "src").rglob("*.h")) + sorted((ROOT / "include").rglob("*.h"))
    shared = hashlib.sha256((ROOT / ".clang-tidy").read_bytes())
    for header in headers:
        shared.update(header.read_bytes())
    files = {}
    for entry in commands:
        path = pathlib.Path(entry["file"])
        if "/src/" in str(path) and not path.name.endswith(("_test.cc", "_bench.cc", "_fuzz.cc")):
            digest = shared.copy()
            digest.update(entry["command"].encode() + path.read_bytes())
            files[path] = stamps / digest.hexdigest()
    stale = [path for path, stamp in files.items() if not stamp.exists()]

    def tidy(path: pathlib.Path) -> str:
        done = subprocess.run(["clang-tidy-19", "-p", str(build), "--quiet", "--extra-arg=-Wno-unknown-warning-option",
                               str(path)], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            files[path].touch()
            return ""
        return done.stdout + "\n".join(l for l in done.stderr.splitlines() if "error" in l)

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        findings = [text for text in pool.map(tidy, stale) if text]
    print("\n".join(findings) if findings else f"clang-tidy: {len(files)} files clean ({len(stale)} read anew)")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
