"""Which branches of src/ the C tests take, both ways; fails below the floor, or when an untaken one is not explained.

python tools/coverage.py --clang clang-16 --llvm-cov llvm-cov-16 --llvm-profdata llvm-profdata-16 --build build/coverage

A branch is one outcome of one condition, as clang's source-based coverage counts them: `a && b` has four. Counted are
all conditions that are written in src/*.c and src/*.h, but two kinds:

* what an LK_ASSERT asks, which is false only when the library is broken (the process stops then);
* what a macro brings with it: LK_ASSERT's own question, and the end of the loop LK_FOR_EACH_IN.

tools/uncovered.toml explains each branch that no test takes: file, function, the condition's text, which outcome, and
why. An explanation that matches no branch which is not taken is an error too, so the file cannot grow stale.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tomllib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
EXPLAINED = Path(__file__).resolve().parent / "uncovered.toml"
FLOOR_PERCENT = 98.0
FLAGS = ["-std=c11", "-O1", "-g", "-fprofile-instr-generate", "-fcoverage-mapping", "-Iinclude", "-Isrc", "-Itests"]
WRAPPED = ("malloc", "calloc", "realloc", "free")


@dataclass(frozen=True, order=True)
class Place:
    """One condition in the source: where it begins and ends."""

    file: str
    line: int
    column: int
    end_line: int
    end_column: int


@dataclass(frozen=True)
class Branch:
    """One outcome of one condition."""

    place: Place
    function: str
    text: str
    outcome: str
    count: int

    @property
    def key(self) -> tuple[str, str, str, str]:
        return (self.place.file, self.function, self.text, self.outcome)


def run(*command: str, **environment: str) -> str:
    done = subprocess.run(command, cwd=ROOT, env=environment or None, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return done.stdout


def build(clang: str, folder: Path) -> list[Path]:
    """Compile src/ once and each test; the tests' programs."""
    sources = sorted((ROOT / "src").glob("*.c"))
    tests = sorted((ROOT / "tests").glob("test_*.c"))
    objects = [folder / f"{source.stem}.o" for source in sources]

    def compile_source(source: Path, target: Path) -> None:
        run(clang, *FLAGS, "-c", "-o", str(target), str(source))

    def compile_test(test: Path) -> Path:
        program = folder / test.stem
        wrap = [f"-Wl,--wrap={name}" for name in WRAPPED] if test.stem == "test_allocation" else []
        run(clang, *FLAGS, *wrap, "-o", str(program), str(test), *map(str, objects))
        return program

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(compile_source, sources, objects))
        return list(pool.map(compile_test, tests))


def measure(programs: list[Path], tools: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Run the tests, and export what they reached."""
    profiles = []
    for program in programs:
        profile = folder / f"{program.stem}.profraw"
        run(str(program), LLVM_PROFILE_FILE=str(profile))
        profiles.append(str(profile))
    merged = str(folder / "merged.profdata")
    run(tools.llvm_profdata, "merge", "-sparse", "-o", merged, *profiles)
    others = [f"-object={program}" for program in programs[1:]]
    text = run(tools.llvm_cov, "export", f"-instr-profile={merged}", str(programs[0]), *others)
    exported: dict[str, Any] = json.loads(text)
    return exported


def source_text(lines: list[str], place: Place) -> str:
    """The condition as it is written, on one line."""
    if place.line == place.end_line:
        return lines[place.line - 1][place.column - 1 : place.end_column - 1]
    parts = [lines[place.line - 1][place.column - 1 :], *lines[place.line : place.end_line - 1]]
    parts.append(lines[place.end_line - 1][: place.end_column - 1])
    return re.sub(r"\s+", " ", " ".join(part.strip() for part in parts))


def assertion_lines(lines: list[str]) -> set[int]:
    """The lines, from 1, of every LK_ASSERT."""
    inside: set[int] = set()
    is_open = False
    for number, line in enumerate(lines, 1):
        is_open = is_open or re.match(r"\s*LK_ASSERT\(", line) is not None
        if is_open:
            inside.add(number)
        is_open = is_open and ");" not in line
    return inside


def branches_of(exported: dict[str, Any]) -> list[Branch]:
    """Every branch of src/ that counts; a function of a header that several files include is one function."""
    counts: Counter[tuple[Place, str]] = Counter()
    functions: dict[Place, str] = {}
    for function in exported["data"][0]["functions"]:
        files = [in_tree(name) for name in function["filenames"]]
        for line, column, end_line, end_column, taken, missed, file_index, expanded, *_ in function["branches"]:
            if expanded != file_index or not files[file_index].startswith("src/"):
                continue
            place = Place(files[file_index], line, column, end_line, end_column)
            functions[place] = function["name"].rpartition(":")[2]
            counts[place, "true"] += taken
            counts[place, "false"] += missed
    texts = {path: (ROOT / path).read_text().splitlines() for path in {place.file for place in functions}}
    asserted = {path: assertion_lines(lines) for path, lines in texts.items()}
    return [
        Branch(place, functions[place], source_text(texts[place.file], place), outcome, counts[place, outcome])
        for place in sorted(functions)
        if place.line not in asserted[place.file]
        for outcome in ("true", "false")
    ]


def in_tree(name: str) -> str:
    """A file's path from libkernel/; another's is empty."""
    path = (ROOT / name).resolve()
    return str(path.relative_to(ROOT)) if path.is_relative_to(ROOT) else ""


def explanations() -> dict[tuple[str, str, str, str], str]:
    listed = tomllib.loads(EXPLAINED.read_text()).get("branch", []) if EXPLAINED.exists() else []
    return {(item["file"], item["function"], item["condition"], item["outcome"]): item["reason"] for item in listed}


def report(branches: list[Branch]) -> int:
    """Say what is not taken; the process's exit status."""
    missed = [branch for branch in branches if branch.count == 0]
    percent = 100 * (len(branches) - len(missed)) / len(branches)
    known = explanations()
    unexplained = [branch for branch in missed if branch.key not in known]
    stale = set(known) - {branch.key for branch in missed}
    for branch in unexplained:
        where = f"{branch.place.file}:{branch.place.line}: {branch.function}"
        sys.stderr.write(f"{where}: ({branch.text}) is never {branch.outcome}, and uncovered.toml does not say why\n")
    for key in sorted(stale):
        sys.stderr.write(f"uncovered.toml: {': '.join(key)}: no such branch, or a test takes it now\n")
    counted = f"{percent:.2f} % of {len(branches)} branches of src/ taken"
    sys.stdout.write(f"{counted}, {len(missed)} not, of them {len(unexplained)} unexplained\n")
    if percent < FLOOR_PERCENT:
        sys.stderr.write(f"below {FLOOR_PERCENT} %\n")
    return 1 if unexplained or stale or percent < FLOOR_PERCENT else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clang", required=True)
    parser.add_argument("--llvm-cov", required=True)
    parser.add_argument("--llvm-profdata", required=True)
    parser.add_argument("--build", type=Path, required=True)
    tools = parser.parse_args()
    folder = tools.build.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    return report(branches_of(measure(build(tools.clang, folder), tools, folder)))


if __name__ == "__main__":
    sys.exit(main())
