"""Instructions per input under callgrind: the figure of speed that does not depend on the machine's mood.

python tools/instructions.py --valgrind valgrind --build build/callgrind

Prints JSON: instructions per input of the benchmark's life cycle, one by one, in batches of ten, and with a digest
after each; and the digest at the end, so that nobody lowers the count by changing the answer. Each way is run twice,
over 400 and over 1,200 trades, past the windows' first round; what is between them, 8,000 inputs, is counted, so
neither start nor end is in it. Counted is what the functions lk_count_* of tools/instructions.c call; making the inputs
is not. The count is exact for one compiler and its flags, which are printed with it.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FLAGS = ["-std=c11", "-O3", "-flto", "-g", "-Iinclude"]
WAYS = {"SINGLE": "c_single", "BATCH": "c_batch", "DIGEST": "c_single_digest"}
TRADES = (400, 1200)
INPUTS_BETWEEN = 10 * (TRADES[1] - TRADES[0])


def build(compiler: str, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "instructions"
    sources = [str(path) for path in sorted((ROOT / "src").glob("*.c"))]
    command = [compiler, *FLAGS, "-o", str(program), str(ROOT / "tools" / "instructions.c"), *sources]
    subprocess.run(command, cwd=ROOT, check=True)
    return program


def count(valgrind: str, program: Path, way: str, trades: int) -> tuple[int, str]:
    """Instructions inside lk_count_*, and the digest that the run ended with."""
    command = [valgrind, "--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=lk_count_*"]
    done = subprocess.run([*command, str(program), way, str(trades)], capture_output=True, text=True, check=False)
    collected = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode != 0 or collected is None:
        sys.exit(f"callgrind did not count:\n{done.stdout}{done.stderr}")
    return int(collected[1]), done.stdout.split()[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cc", default="cc")
    parser.add_argument("--valgrind", default="valgrind")
    parser.add_argument("--build", type=Path, required=True)
    options = parser.parse_args()
    program = build(options.cc, options.build.resolve())
    figures: dict[str, float | str | int] = {}
    digests = set()
    for way, name in WAYS.items():
        few, _ = count(options.valgrind, program, way, TRADES[0])
        many, digest = count(options.valgrind, program, way, TRADES[1])
        digests.add(digest)
        figures[f"{name}_instructions"] = round((many - few) / INPUTS_BETWEEN, 1)
    if len(digests) != 1:
        sys.exit("the three ways do not come to the same state")
    version = subprocess.run([options.cc, "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[
        0
    ]
    figures |= {"inputs": INPUTS_BETWEEN, "compiler": version, "flags": " ".join(FLAGS), "digest": digests.pop()}
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
