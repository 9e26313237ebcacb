"""Break the rules on purpose, one token at a time, and see that a test fails.

python tools/mutate.py --build build/mutate [--file src/fills.c] [--sample 60 --seed 1] [--minutes 20] [--strict]
                       [--resume] [--report FILE]

A mutant is one source file of src/ with one change: a comparison, an operator, a constant by one, a condition made
false, a statement left out. Each is compiled (only its own file), linked with the others' objects into a shared
library, and put under the C tests, which were linked once. What fails, or takes too long, kills it. In this order:

* the quick C tests;
* `trace` (fuzz/trace.c): random sequences with every invariant checked and all that comes out hashed. A mutant with
  another hash is one that the comparison with the reference model finds, since that model must agree with this library
  in every output; it is told apart as killed by comparison;
* the slow C tests, for what is left. What they let pass, too, survives.

Not mutated: assertions; the start value of a variable that is only a place for a result (its address is passed on).
tools/survivors.toml explains survivors that are known: equivalent ones, or ones whose difference does no harm, by
file, function, line as written, and change. --strict (CI) fails on a survivor that is not explained. --minutes stops
after that time; the order is then a random one. --resume takes over what an earlier run killed, where the function has
not changed since. --report writes what came out, for people.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
EXPLAINED = Path(__file__).resolve().parent / "survivors.toml"
COMPILE = ["-std=c11", "-fPIC", "-w", "-Iinclude", "-Isrc", "-Itests", "-Ifuzz"]
NOT_MUTATED = {"blake2b.c": "checked against published vectors, whole", "abi.c": "nothing but assertions on the layout"}
TRACE_ARGUMENTS = ("7", "60", "400")
ALLOCATING = "src/kernel.c"
"""The only file that takes memory (tools/purity.py): its mutants are put under test_allocation too, which is linked
anew for each, since a linker's --wrap does not reach into a shared library."""
ALLOCATION_TEST = ROOT / "tests" / "test_allocation.c"
WRAPPED = ("malloc", "calloc", "realloc", "free")
SLOW_SECONDS = 0.5
TIME_LIMIT_FACTOR = 10.0
WORKERS = 2

SPLIT = re.compile(
    r"""/\*.*?\*/ | //[^\n]* | "(?:\\.|[^"\\])*" | '(?:\\.|[^'\\])*' | [A-Za-z_]\w* | 0[xX][0-9a-fA-F]+\w* | \d+\w*
      | <<= | >>= | \+\+ | -- | -> | << | >> | <= | >= | == | != | && | \|\| | [-+*/%&|^]= | \S""",
    re.VERBOSE | re.DOTALL,
)
SWAPS = {
    "<": ("<=", ">="),
    "<=": ("<", ">"),
    ">": (">=", "<="),
    ">=": (">", "<"),
    "==": ("!=",),
    "!=": ("==",),
    "&&": ("||",),
    "||": ("&&",),
    "+": ("-",),
    "-": ("+",),
    "*": ("+",),
    "/": ("*",),
    "%": ("/",),
    "+=": ("-=",),
    "-=": ("+=",),
    "|=": ("&=",),
    "&=": ("|=",),
    "++": ("--",),
    "--": ("++",),
    "<<": (">>",),
    ">>": ("<<",),
    "true": ("false",),
    "false": ("true",),
}
BINARY_ONLY = {"+", "-", "*", "&"}
KEYWORDS = {"return", "if", "while", "for", "case", "else", "sizeof", "switch", "do"}


@dataclass(frozen=True)
class Token:
    text: str
    start: int
    line: int


@dataclass(frozen=True)
class Mutant:
    """One change: source[start:end] becomes text."""

    file: str
    function: str
    line: int
    start: int
    end: int
    before: str
    after: str
    code: str
    column: int

    @property
    def key(self) -> tuple[str, str, str, str]:
        return (self.file, self.function, self.code, f"{self.before} -> {self.after}")


@dataclass(frozen=True)
class Outcome:
    """What became of a mutant: killed, compared (killed by comparison), survived, or invalid (does not compile)."""

    mutant: Mutant
    verdict: str
    by: str


# ---------------------------------------------------------------------------------------------------------- mutants --


def tokens_of(source: str) -> list[Token]:
    """All tokens but comments."""
    tokens = []
    line, last = 1, 0
    for match in SPLIT.finditer(source):
        line += source.count("\n", last, match.start())
        last = match.start()
        if not match[0].startswith(("/*", "//")):
            tokens.append(Token(match[0], match.start(), line))
    return tokens


def functions_of(tokens: list[Token], source: str) -> Iterator[tuple[str, int, int]]:
    """The name and the tokens (first after the brace, closing brace) of each function's body.

    Written as clang-format leaves them: a body's brace stands alone in the first column.
    """
    index = 0
    while index < len(tokens):
        token = tokens[index]
        at_line_start = token.start == 0 or source[token.start - 1] == "\n"
        if token.text != "{" or not at_line_start:
            index += 1
            continue
        name_at = index - 1
        depth = 0
        while name_at >= 0:
            depth += {")": 1, "(": -1}.get(tokens[name_at].text, 0)
            name_at -= 1
            if depth == 0:
                break
        first = index + 1
        depth = 1
        while depth > 0:
            index += 1
            depth += {"{": 1, "}": -1}.get(tokens[index].text, 0)
        yield tokens[name_at].text, first, index


def skip_call(tokens: list[Token], at: int) -> int:
    """The index behind a call that begins at `at`: name, parentheses, and what is in them."""
    depth = 0
    for index in range(at + 1, len(tokens)):
        depth += {"(": 1, ")": -1}.get(tokens[index].text, 0)
        if depth == 0:
            return index + 1
    return len(tokens)


def is_binary(tokens: list[Token], at: int) -> bool:
    before = tokens[at - 1].text
    is_operand = re.match(r"[\w)\]]", before[-1:]) is not None
    is_cast_or_word = before in KEYWORDS or (
        before == ")" and re.match(r"\(\s*\w+_t\s*\)", tail_of(tokens, at)) is not None
    )
    return is_operand and not is_cast_or_word and not is_declaration(tokens, at)


def tail_of(tokens: list[Token], at: int) -> str:
    return "".join(token.text for token in tokens[max(at - 3, 0) : at])


def is_declaration(tokens: list[Token], at: int) -> bool:
    """`lk_slot_t *slot`: the star of a pointer."""
    return tokens[at].text == "*" and re.search(r"_t$|^(void|char|int|double)$", tokens[at - 1].text) is not None


def changes_at(tokens: list[Token], at: int) -> Iterator[str]:
    """What one token may become."""
    token = tokens[at]
    if token.text in BINARY_ONLY and not is_binary(tokens, at):
        return
    if token.text in ("0", "1", "true", "false") and is_place_for_result(tokens, at):
        return
    yield from SWAPS.get(token.text, ())
    number = re.fullmatch(r"(\d+)([uUlL]*)", token.text)
    if number is not None and tokens[at - 1].text != "case":
        yield f"{0 if number[1] == '1' else int(number[1]) + 1}{number[2]}"


def is_place_for_result(tokens: list[Token], at: int) -> bool:
    """`int64_t price = 0;` with `&price` further down: the value is overwritten before it is read."""
    if tokens[at - 1].text != "=" or tokens[at + 1].text != ";" or not tokens[at - 3].text.endswith(("_t", "bool")):
        return False
    name = tokens[at - 2].text
    return any(tokens[i].text == "&" and tokens[i + 1].text == name for i in range(at, min(at + 400, len(tokens) - 1)))


def conditions_at(tokens: list[Token], at: int) -> Iterator[tuple[int, int, str]]:
    """`if (...)` at `at`: its condition made false, so that what it guards never happens."""
    if tokens[at].text not in ("if", "while"):
        return
    end = skip_call(tokens, at)
    first, last = tokens[at + 1], tokens[end - 1]
    yield first.start, last.start + 1, "false"


def statement_at(tokens: list[Token], at: int, end: int) -> tuple[int, int] | None:
    """A statement that can be left out and still compile: an assignment or a call, up to its semicolon."""
    if tokens[at - 1].text not in ("{", "}", ";", ")", "else") or not re.match(r"[A-Za-z_*]", tokens[at].text):
        return None
    if tokens[at].text in KEYWORDS | {"static", "const", "default", "LK_FOR_EACH_IN", "LK_ASSERT", "break", "continue"}:
        return None
    if (
        tokens[at + 1].text not in (".", "->", "=", "(", "[", "++", "--", "+=", "-=", "|=", "&=")
        and tokens[at].text != "*"
    ):
        return None
    depth = 0
    for index in range(at, end):
        depth += {"(": 1, ")": -1, "{": 1, "}": -1}.get(tokens[index].text, 0)
        if depth < 0:
            return None
        if depth == 0 and tokens[index].text == ";":
            return tokens[at].start, tokens[index].start + 1
    return None


def mutants_of(path: Path) -> list[Mutant]:
    """Every mutant of one file, in the order of the source."""
    source = path.read_text()
    tokens = tokens_of(source)
    lines = source.splitlines()
    name = str(path.relative_to(ROOT))
    found: list[Mutant] = []

    def add(function: str, start: int, end: int, after: str, line: int, label: str = "") -> None:
        before = re.sub(r"\s+", " ", source[start:end])
        found.append(
            Mutant(
                name,
                function,
                line,
                start,
                end,
                before,
                label or after,
                lines[line - 1].strip(),
                start - source.rfind("\n", 0, start),
            )
        )

    for function, first, last in functions_of(tokens, source):
        index = first
        while index < last:
            token = tokens[index]
            if token.text in ("LK_ASSERT", "_Static_assert"):
                index = skip_call(tokens, index)
                continue
            for start, end, label in conditions_at(tokens, index):
                add(function, start, end, label, token.line)
            for after in changes_at(tokens, index):
                add(function, token.start, token.start + len(token.text), after, token.line)
            statement = statement_at(tokens, index, last)
            if statement is not None:
                add(function, *statement, "nothing", token.line)
            index += 1
    return found


def mutated(source: str, mutant: Mutant) -> str:
    """The source with the change in it, on the same lines."""
    old = source[mutant.start : mutant.end]
    if mutant.after == "false" and old.startswith("("):
        new = "(false)" + "\n" * old.count("\n")
    elif mutant.after == "nothing":
        new = ";" + "\n" * old.count("\n")
    else:
        new = mutant.after
    return source[: mutant.start] + new + source[mutant.end :]


# ----------------------------------------------------------------------------------------------------------- running --


class Bench:
    """The tests, linked once against a shared library that each mutant brings for itself."""

    def __init__(self, compiler: str, folder: Path) -> None:
        self._compiler = compiler
        self._folder = folder
        self._sources = sorted((ROOT / "src").glob("*.c"))
        self._objects = {source.name: folder / f"{source.stem}.o" for source in self._sources}
        self._original = folder / "original"
        self.tests: list[Path] = []
        self._limits: dict[Path, float] = {}
        self._trace = folder / "trace"
        self._trace_hash = ""
        self._quick: list[Path] = []
        self._slow: list[Path] = []

    def prepare(self) -> None:
        self._original.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(WORKERS) as pool:
            list(pool.map(lambda source: self._compile(source, self._objects[source.name]), self._sources))
            library = self._link(list(self._objects.values()), self._original)
            tests = [test for test in sorted((ROOT / "tests").glob("test_*.c")) if test != ALLOCATION_TEST]
            self.tests = list(pool.map(lambda test: self._program(test, [library], self._folder), tests))
            self._program(ROOT / "fuzz" / "trace.c", [library], self._folder)
        for test in self.tests:
            started = time.monotonic()
            done = self._run([str(test)], self._original, 600.0)
            if done is None or done.returncode != 0:
                sys.exit(f"{test.name} fails without any mutant")
            took = time.monotonic() - started
            self._limits[test] = 2.0 + TIME_LIMIT_FACTOR * took
            (self._slow if took > SLOW_SECONDS else self._quick).append(test)
        done = self._run([str(self._trace), *TRACE_ARGUMENTS], self._original, 600.0)
        if done is None or done.returncode != 0:
            sys.exit("trace fails without any mutant")
        self._trace_hash = done.stdout

    def judge(self, mutant: Mutant, source: str) -> Outcome:
        """Compile, link and test one mutant."""
        identity = hashlib.sha256(f"{mutant.file}{mutant.start}{mutant.after}{mutant.end}".encode()).hexdigest()[:16]
        place = self._folder / "mutants" / identity
        place.mkdir(parents=True, exist_ok=True)
        try:
            changed = place / Path(mutant.file).name
            changed.write_text(mutated(source, mutant))
            own = place / "mutant.o"
            if not self._compiles(changed, own):
                return Outcome(mutant, "invalid", "compiler")
            others = [target for name, target in self._objects.items() if name != changed.name]
            self._link([own, *others], place)
            if mutant.file == ALLOCATING and self._fails_allocation([own, *others], place):
                return Outcome(mutant, "killed", ALLOCATION_TEST.stem)
            return self._test(mutant, place)
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def _test(self, mutant: Mutant, place: Path) -> Outcome:
        failed = self._first_to_fail(self._quick, place)
        if failed is not None:
            return Outcome(mutant, "killed", failed.name)
        done = self._run([str(self._trace), *TRACE_ARGUMENTS], place, 30.0)
        if done is None or done.stdout != self._trace_hash:
            return Outcome(mutant, "compared", "trace")
        failed = self._first_to_fail(self._slow, place)
        return Outcome(mutant, "survived", "") if failed is None else Outcome(mutant, "killed", failed.name)

    def _fails_allocation(self, objects: list[Path], place: Path) -> bool:
        program = self._program(ALLOCATION_TEST, objects, place, *(f"-Wl,--wrap={name}" for name in WRAPPED))
        done = self._run([str(program)], place, 10.0)
        return done is None or done.returncode != 0

    def _first_to_fail(self, tests: list[Path], place: Path) -> Path | None:
        for test in tests:
            done = self._run([str(test)], place, self._limits[test])
            if done is None or done.returncode != 0:
                return test
        return None

    def _compile(self, source: Path, target: Path) -> None:
        subprocess.run([self._compiler, *COMPILE, "-O1", "-c", "-o", str(target), str(source)], cwd=ROOT, check=True)

    def _compiles(self, source: Path, target: Path) -> bool:
        command = [self._compiler, *COMPILE, "-c", "-o", str(target), str(source)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 0

    def _link(self, objects: list[Path], place: Path) -> Path:
        library = place / "libkernel_mutant.so"
        command = [self._compiler, "-shared", "-Wl,-soname,libkernel_mutant.so", "-o", str(library), *map(str, objects)]
        subprocess.run(command, cwd=ROOT, check=True)
        return library

    def _program(self, source: Path, objects: list[Path], place: Path, *flags: str) -> Path:
        program = place / source.stem
        command = [self._compiler, *COMPILE, "-O1", *flags, "-o", str(program), str(source), *map(str, objects)]
        subprocess.run(command, cwd=ROOT, check=True)
        return program

    def _run(self, command: list[str], libraries: Path, limit: float) -> subprocess.CompletedProcess[str] | None:
        """None: it took too long, which is a way to fail."""
        environment = {**os.environ, "LD_LIBRARY_PATH": str(libraries)}
        try:
            return subprocess.run(
                command,
                env=environment,
                cwd=ROOT,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=limit,
            )
        except subprocess.TimeoutExpired:
            return None


# ------------------------------------------------------------------------------------------------------------ report --


def explanations() -> dict[tuple[str, str, str, str], str]:
    listed = tomllib.loads(EXPLAINED.read_text()).get("survivor", []) if EXPLAINED.exists() else []
    return {(item["file"], item["function"], item["code"], item["change"]): item["reason"] for item in listed}


def function_hashes(path: Path) -> dict[str, str]:
    """Each function's text, hashed: what --resume goes by."""
    source = path.read_text()
    tokens = tokens_of(source)
    return {
        name: hashlib.sha256(" ".join(token.text for token in tokens[first:last]).encode()).hexdigest()
        for name, first, last in functions_of(tokens, source)
    }


PREFACE = """# What survives mutation

Written by `make -C libkernel mutate`; not edited by hand. `tools/mutate.py` says how mutants are made and judged.
*Killed*: by a C test. *By comparison*: let pass by the quick C tests, and then found because what came out of random
sequences was not what the original gives, as the comparison with the reference model would. *Survived*: no test, and no
difference on any sequence tried. Reasons come from `survivors.toml`. Of a run that was resumed, what was killed before
counts; of one that was bounded by time, the mutants are drawn at random.

| file | mutants | killed | by comparison | survived | of them explained | found |
|---|---:|---:|---:|---:|---:|---:|
"""


def table_row(name: str, outcomes: list[Outcome], known: dict[tuple[str, str, str, str], str]) -> str:
    number = {verdict: sum(o.verdict == verdict for o in outcomes) for verdict in ("killed", "compared", "survived")}
    explained = sum(o.verdict == "survived" and o.mutant.key in known for o in outcomes)
    found = 100 * (len(outcomes) - number["survived"]) / len(outcomes)
    counts = f"{number['killed']} | {number['compared']} | {number['survived']} | {explained}"
    return f"| {name} | {len(outcomes)} | {counts} | {found:.1f} % |\n"


def survivor_row(mutant: Mutant, known: dict[tuple[str, str, str, str], str]) -> str:
    code = mutant.code.replace("|", "\\|")
    change = f"{mutant.before} → {mutant.after}".replace("|", "\\|")
    where = f"{mutant.file}:{mutant.line} {mutant.function}"
    return f"| {where} | `{code}` | `{change}` | {known.get(mutant.key, 'not explained yet')} |\n"


def written(
    outcomes: list[Outcome], mutant_count: int, known: dict[tuple[str, str, str, str], str], seconds: float
) -> str:
    """The report for people."""
    counted = [outcome for outcome in outcomes if outcome.verdict != "invalid"]
    survivors = [outcome.mutant for outcome in counted if outcome.verdict == "survived"]
    rows = [
        table_row(name, [outcome for outcome in counted if outcome.mutant.file == name], known)
        for name in sorted({outcome.mutant.file for outcome in counted})
    ]
    rows.append(table_row("all", counted, known))
    took = f"\n{len(outcomes)} of {mutant_count} mutants were run, in {seconds / 60:.0f} minutes.\n\n## Survivors\n\n"
    head = "| where | as written | change | why it may |\n|---|---|---|---|\n"
    return PREFACE + "".join(rows) + took + head + "".join(survivor_row(mutant, known) for mutant in survivors)


def identity_of(mutant: Mutant, hashes: dict[str, dict[str, str]]) -> str:
    """The mutant, and the text of the function it is in."""
    text = hashes[mutant.file].get(mutant.function, "")
    return hashlib.sha256(repr((mutant.key, mutant.column, text)).encode()).hexdigest()


def remembered(path: Path) -> dict[str, tuple[str, str]]:
    """What an earlier run killed, and by what."""
    lines = path.read_text().splitlines() if path.exists() else []
    kept = (json.loads(line) for line in lines)
    return {identity: (verdict, by) for identity, verdict, by in kept if verdict in ("killed", "invalid")}


# -------------------------------------------------------------------------------------------------------------- main --


def drawn_by(mutant: Mutant, seed: int) -> str:
    """The order of drawing: random, and yet an edit elsewhere does not draw other mutants."""
    return hashlib.sha256(repr((seed, mutant.key, mutant.column)).encode()).hexdigest()


def chosen_mutants(options: argparse.Namespace) -> list[Mutant]:
    files = [ROOT / options.file] if options.file else sorted((ROOT / "src").glob("*.c"))
    mutants = [mutant for path in files if path.name not in NOT_MUTATED for mutant in mutants_of(path)]
    if options.sample or options.minutes:
        mutants.sort(key=lambda mutant: drawn_by(mutant, options.seed))
    if options.sample:
        return mutants[: options.sample]
    return mutants


def told(mutant: Mutant) -> str:
    where = f"{mutant.file}:{mutant.line}: {mutant.function}"
    return f"{where}: `{mutant.before}` -> `{mutant.after}` in `{mutant.code}`"


def run_all(bench: Bench, mutants: list[Mutant], memory: Path, is_resumed: bool, until: float) -> list[Outcome]:
    """Judge all of them, or as many as there is time for, and keep what came out as it comes."""
    files = {mutant.file for mutant in mutants}
    sources = {name: (ROOT / name).read_text() for name in files}
    hashes = {name: function_hashes(ROOT / name) for name in files}
    earlier = remembered(memory) if is_resumed else {}
    outcomes: list[Outcome] = []

    def judge(mutant: Mutant) -> Outcome:
        known = earlier.get(identity_of(mutant, hashes))
        if known is None and time.monotonic() > until:
            return Outcome(mutant, "left", "")
        return Outcome(mutant, *known) if known is not None else bench.judge(mutant, sources[mutant.file])

    with ThreadPoolExecutor(WORKERS) as pool, memory.open("a") as kept:
        for outcome in pool.map(judge, mutants):
            if outcome.verdict == "left":
                continue
            outcomes.append(outcome)
            kept.write(json.dumps([identity_of(outcome.mutant, hashes), outcome.verdict, outcome.by]) + "\n")
            if outcome.verdict == "survived":
                sys.stdout.write(f"survived: {told(outcome.mutant)}\n")
            if len(outcomes) % 100 == 0:
                kept.flush()
                sys.stdout.write(f"{len(outcomes)} of {len(mutants)}\n")
                sys.stdout.flush()
    return outcomes


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cc", default="cc")
    parser.add_argument("--build", type=Path, required=True)
    parser.add_argument("--file", default="")
    parser.add_argument("--sample", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=0.0)
    parser.add_argument("--strict", action="store_true")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--report", type=Path)
    options = parser.parse_args()
    started = time.monotonic()
    folder = options.build.resolve()
    bench = Bench(options.cc, folder)
    bench.prepare()
    memory = folder / "outcomes.jsonl"
    mutants = chosen_mutants(options)
    until = started + 60 * options.minutes if options.minutes else float("inf")
    outcomes = run_all(bench, mutants, memory, options.resume, until)
    known = explanations()
    counts = {
        verdict: sum(o.verdict == verdict for o in outcomes)
        for verdict in ("killed", "compared", "survived", "invalid")
    }
    unexplained = [o.mutant for o in outcomes if o.verdict == "survived" and o.mutant.key not in known]
    if options.report is not None and not options.file:
        options.report.write_text(written(outcomes, len(mutants), known, time.monotonic() - started))
    for mutant in unexplained:
        sys.stderr.write(f"unexplained: {told(mutant)}\n")
    sample = f" (sample of seed {options.seed})" if options.sample else ""
    sys.stdout.write(
        f"{len(outcomes) - counts['invalid']} mutants{sample}: {counts['killed']} killed by C tests, "
        f"{counts['compared']} by comparison, {counts['survived']} survived, {len(unexplained)} of them unexplained; "
        f"{counts['invalid']} more did not compile; {time.monotonic() - started:.0f} s\n"
    )
    return 1 if options.strict and unexplained else 0


if __name__ == "__main__":
    sys.exit(main())
