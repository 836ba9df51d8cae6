#!/usr/bin/env python3
"""Fails when an innermost FMA loop of the attention kernels keeps vectors on the stack.

usage: check_spills.py LIBRARY.a. Disassembles the attention kernels' objects; an innermost loop is a
backward jump that holds no other. Loops with at least 8 FMA or vdpbf16ps are the register tiles of the microkernel:
one vector spill there costs 5 to 40 % of the peak. The loop of tanh, the one that divides, has more
constants than AVX2 has registers: it may read them from the stack, and still may write nothing there.
"""
import re
import subprocess
import sys

OBJECTS = ("flash_forward.cc.o", "decode.cc.o", "gemm.cc.o", "prefill_avx512bf16.cc.o", "decode_avx512bf16.cc.o",
           "flash_backward.cc.o")
INSTRUCTION = re.compile(r"^\s+([0-9a-f]+):\s+(\S+)\s*(.*)$")
STACK = re.compile(r"\((%rsp|%rbp)")


def loops(lines: list[tuple[int, str, str]]) -> list[list[tuple[int, str, str]]]:
    index = {address: i for i, (address, _, _) in enumerate(lines)}
    jumps = []
    for i, (address, name, operands) in enumerate(lines):
        if name.startswith("j") and (target := re.match(r"([0-9a-f]+) ", operands)):
            start = index.get(int(target.group(1), 16))
            if start is not None and start < i:
                jumps.append((start, i))
    inner = [(a, b) for a, b in jumps if not any((c, d) != (a, b) and a <= c and d <= b for c, d in jumps)]
    return [lines[a:b + 1] for a, b in inner]


def main() -> int:
    text = subprocess.run(["objdump", "-d", "--no-show-raw-insn", sys.argv[1]], capture_output=True, text=True,
                          check=True).stdout
    checked, faults, wanted, function, lines = 0, [], False, "", []

    def finish() -> None:
        nonlocal checked
        for loop in loops(lines):
            if sum(name.startswith(("vfmadd", "vdpbf16ps")) for _, name, _ in loop) < 8:
                continue
            checked += 1
            spills = [l for l in loop if re.search(r"%[xyz]mm", l[2]) and STACK.search(l[2])]
            if any(name.startswith("vdivps") for _, name, _ in loop):
                spills = [l for l in spills if l[2].endswith(")")]  # AT&T order: the stack is written
            if spills:
                faults.append(f"{function}: {len(spills)} vector stack accesses in the loop at {loop[0][0]:x}")

    for line in text.splitlines() + ["x.o:     file format end"]:
        if "file format" in line:
            finish()
            lines, wanted = [], line.split(":")[0].endswith(OBJECTS)
        elif wanted and (head := re.match(r"^[0-9a-f]+ <(.+)>:$", line)):
            finish()
            function, lines = head.group(1)[:120], []
        elif wanted and (match := INSTRUCTION.match(line)):
            lines.append((int(match.group(1), 16), match.group(2), match.group(3)))
    print("\n".join(faults) if faults else f"spills: none in {checked} FMA loops")
    return 1 if faults or checked == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
