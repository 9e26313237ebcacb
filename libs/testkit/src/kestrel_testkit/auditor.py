"""The auditor's program, ``lk-replay``, built for tests: from its sources, under the sanitizers, by any C compiler."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LIBKERNEL = Path(__file__).resolve().parents[4] / "libkernel"
_TIMEOUT_S = 300


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one run of it said."""

    code: int
    out: str
    errors: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Its lines, after ``--json``."""
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass(frozen=True, slots=True)
class Auditor:
    """A built program."""

    program: Path

    def check(self, file: Path, *options: str) -> Verdict:
        done = subprocess.run(
            [str(self.program), *options, str(file)], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
        return Verdict(done.returncode, done.stdout, done.stderr)


def build_auditor(folder: Path) -> Auditor:
    """Compile it. Fails, and never skips, without a C compiler: libkernel's binding needs one too."""
    program = folder / "lk-replay"
    sources = sorted([*LIBKERNEL.glob("replay/*.c"), *LIBKERNEL.glob("src/*.c")])
    includes = [f"-I{LIBKERNEL / each}" for each in ("include", "src", "replay")]
    sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    command = [os.environ.get("CC", "cc"), "-std=c11", "-O1", *sanitizers, *includes, "-o", str(program)]
    subprocess.run([*command, *map(str, sources)], check=True, timeout=_TIMEOUT_S)
    return Auditor(program)
