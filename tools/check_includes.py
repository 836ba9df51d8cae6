#!/usr/bin/env python3
"""Holds the sources to the room table: a room includes only rooms below it.

Reads every #include in src/ and include/raptly/ and prints each edge that the table does not allow.
`--dot` prints the measured room graph in Graphviz form instead (docs/architecture.md shows it).
"""
import collections
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent

# Each room and the rooms it may include; docs/architecture.md explains the order.
CORE = ["base", "tensor", "mask", "kernels"]
ALLOWED = {
    "base": [],
    "tensor": ["base"],
    "mask": ["base", "tensor"],
    "kernels": ["base", "tensor", "mask"],
    "cache": ["base", "tensor"],
    "attention": CORE + ["cache"],
    "formats": ["base", "tensor"],
    "text": ["base"],
    "models": CORE + ["cache", "attention", "formats", "text"],
    "generate": CORE + ["cache", "attention", "formats", "text", "models"],
    "cli": CORE + ["cache", "attention", "formats", "text", "models", "generate"],
}
# A public header counts as part of the room that implements it.
PUBLIC = {
    "error": "base", "dtype": "base", "execution": "base", "tensor": "tensor", "mask": "mask", "bias": "mask",
    "kv_view": "tensor", "tokenizer": "text", "chat_template": "text",
    "attention": "attention", "attention_with_cache": "attention", "backward": "attention", "merge": "attention", "statistics": "attention",
    "cascade": "attention",
    "plan": "attention", "cache": "cache", "model": "models", "generate": "generate",
}
# Third-party headers above the core only: no JSON, no regex, no program libraries below.
FOREIGN = {
    "hwy/": {"kernels"},
    "nlohmann/": {"formats", "text", "models", "generate", "cli"},
    "pcre2": {"text"},
    "utf8proc": {"text"},
    "CLI/": {"cli"},
    "spdlog/": {"cli"},
    "png.h": {"cli"},
}
TEST = re.compile(r"_(test|bench|fuzz)\.cc$|_test_|testdata")


def room_of(path: str) -> str | None:
    """The room of an include path or of a file below src/ or include/."""
    if path.startswith("raptly/"):
        return PUBLIC.get(pathlib.PurePath(path).stem)
    first = path.split("/")[0]
    return first if first in ALLOWED else None


def fault_of(room: str, target: str, quoted: bool) -> tuple[str | None, str | None]:
    """(what is wrong with this include or None, the room it leads to or None)."""
    for prefix, rooms in FOREIGN.items():
        if target.startswith(prefix) and room not in rooms:
            return f"{room} may not include <{target}>", None
    if not quoted or target.startswith(("hwy/", "raptly/mask_detail")):
        return None, None
    other = room_of(target)
    if other is None:
        return f'"{target}" is in no room', None
    if other != room and other not in ALLOWED[room]:
        return f"{room} may not include {other} ({target})", other
    return None, other if other != room else None


def main() -> int:
    edges: dict[tuple[str, str], int] = collections.Counter()
    faults = []
    files = [f for folder in ("src", "include") for f in sorted((ROOT / folder).rglob("*"))
             if f.suffix in (".h", ".cc")]
    for file in files:
        relative = file.relative_to(ROOT).as_posix()
        room = room_of(relative.removeprefix("src/").removeprefix("include/"))
        if room is None:
            faults.append(f"{relative}: belongs to no room of the table")
            continue
        if TEST.search(relative):
            continue
        for number, line in enumerate(file.read_text().splitlines(), 1):
            match = re.match(r'\s*#\s*include\s+(["<])([^">]+)[">]', line)
            if match:
                fault, other = fault_of(room, match.group(2), match.group(1) == '"')
                if fault:
                    faults.append(f"{relative}:{number}: {fault}")
                if other:
                    edges[room, other] += 1
    if "--dot" in sys.argv:
        print("digraph rooms {\n  rankdir=BT; node [shape=box];")
        for (room, other), count in sorted(edges.items()):
            print(f'  {room} -> {other} [label="{count}"];')
        print("}")
        return 0
    summary = f"includes: {len(files)} files, {len(edges)} edges between rooms, all allowed"
    print("\n".join(faults) if faults else summary)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
