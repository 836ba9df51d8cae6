#!/usr/bin/env python3
"""Redraws the pictures of docs/masks.md with the program: draw_masks.py [PROGRAM] [--check]

Each picture `![...](masks/NAME.png)` is drawn by the last "raptly mask ..." line before it, so the page
shows exactly what a reader gets. --check draws elsewhere, compares, and fails where a picture is stale.
"""

import pathlib
import re
import shlex
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
COMMAND = re.compile(r"^\s*raptly mask (.*)$")
PICTURE = re.compile(r"!\[[^\]]*\]\((masks/[\w-]+\.png)\)")


def pictures(page):
    """(file name, arguments) of each picture."""
    command = None
    for line in page.splitlines():
        if match := COMMAND.match(line):
            command = shlex.split(match.group(1))
        for name in PICTURE.findall(line):
            yield name, command


def main():
    check = "--check" in sys.argv
    rest = [a for a in sys.argv[1:] if a != "--check"]
    program = rest[0] if rest else str(ROOT / "build/release/raptly")
    docs = ROOT / "docs"
    stale = []
    with tempfile.TemporaryDirectory() as folder:
        for name, arguments in pictures((docs / "masks.md").read_text()):
            target = pathlib.Path(folder) / "mask.png" if check else docs / name
            target.parent.mkdir(exist_ok=True)
            subprocess.run(
                [program, "mask", *arguments, "--json", "--png", target],
                check=True,
                stdout=subprocess.DEVNULL,
            )
            if check and (
                not (docs / name).exists() or target.read_bytes() != (docs / name).read_bytes()
            ):
                stale.append(name)
    if stale:
        sys.exit("these pictures are stale; run tools/draw_masks.py: " + ", ".join(stale))


if __name__ == "__main__":
    main()
