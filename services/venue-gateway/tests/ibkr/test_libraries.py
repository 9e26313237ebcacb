"""Two client libraries, one connector: the same tests on the other one, and one place that imports either."""

from __future__ import annotations

import ast
import os
import subprocess
from pathlib import Path

import pytest

_LIBRARIES = ("ib_insync", "ib_async")
_HERE = Path(__file__).parent
_ROOT = _HERE.parents[3]
_ALLOWED = {"services/venue-gateway/src/kestrel_venue_gateway/ibkr/library.py"}


def _sources() -> list[Path]:
    found = subprocess.run(["git", "ls-files", "*.py"], cwd=_ROOT, capture_output=True, text=True, check=False)
    names = found.stdout.split() or [str(path.relative_to(_ROOT)) for path in _ROOT.glob("[a-z]*/**/*.py")]
    return [_ROOT / name for name in names]


def _is_test_of_the_simulators(name: str) -> bool:
    """The simulator is held against the unmodified libraries, and its cost against theirs alone."""
    return name.startswith(("simulators/tests/", "bench/"))


def _imports(path: Path) -> bool:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", getattr(node.func, "id", "")) in (
            "import_module",
            "__import__",
        ):
            names = [argument.value for argument in node.args if isinstance(argument, ast.Constant)]
        if any(str(name).split(".")[0] in _LIBRARIES for name in names):
            return True
    return False


def test_nothing_but_the_connectors_library_module_imports_a_client_library() -> None:
    importers = {
        name
        for path in _sources()
        if path.is_file() and not _is_test_of_the_simulators(name := path.relative_to(_ROOT).as_posix())
        if _imports(path)
    }
    assert importers <= _ALLOWED


@pytest.mark.integration
@pytest.mark.timeout(300)
@pytest.mark.parametrize("names", [("test_trading.py",), ("test_deaths.py", "test_frames.py")])
def test_the_same_tests_pass_on_the_other_library(names: tuple[str, ...]) -> None:
    """In its own environment, as the two bring packages of one name; several at once, as they mostly wait."""
    python = _ROOT / ".venv-ib-async" / "bin" / "python"
    assert python.exists(), "run `make .venv-ib-async/.ready`"
    command = [str(python), "-m", "pytest", "-q", "-x", "-n", "2", "-p", "no:cacheprovider"]
    command += [str(_HERE / name) for name in names]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
    environment["KESTREL_TEST_IBKR_LIBRARY"] = "ib_async"
    done = subprocess.run(command, cwd=_ROOT, env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout[-6000:]
