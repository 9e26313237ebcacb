"""Generate Python from proto/ into libs/contracts, and keep the breaking-change baseline.

python tools/generate.py            generate
python tools/generate.py --check    fail when what is committed is not what would be generated
python tools/generate.py --rebase   also accept the present contracts as the baseline (before a release)
"""

from __future__ import annotations

import argparse
import filecmp
import shutil
import subprocess
import sys
import tempfile
from importlib import resources
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
OUTPUT = ROOT / "libs" / "contracts" / "src"
BASELINE = PROTO / "baseline.binpb"
BIN = Path(sys.executable).parent


def generate(target: Path) -> None:
    """Write ``kestrel/<area>/v1/*_pb2.py``, their type stubs and the gRPC code below ``target``."""
    sources = sorted(str(path.relative_to(PROTO)) for path in PROTO.rglob("*.proto"))
    well_known = resources.files("grpc_tools") / "_proto"
    command = [
        sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTO}", f"-I{well_known}",
        f"--plugin=protoc-gen-mypy={BIN / 'protoc-gen-mypy'}",
        f"--plugin=protoc-gen-mypy_grpc={BIN / 'protoc-gen-mypy_grpc'}",
    ]  # fmt: skip
    messages = [f"--python_out={target}", f"--mypy_out=quiet:{target}"]
    stubs = [f"--grpc_python_out={target}", f"--mypy_grpc_out=quiet:{target}"]
    services = [name for name in sources if "\nservice " in (PROTO / name).read_text()]
    subprocess.run([*command, *messages, *sources], check=True, cwd=PROTO)
    subprocess.run([*command, *stubs, *services], check=True, cwd=PROTO)
    (target / "kestrel" / "py.typed").touch()


def differences(left: Path, right: Path) -> list[str]:
    """Files below the two folders that are missing on one side or differ, as relative names."""
    names = {
        str(path.relative_to(root))
        for root in (left, right)
        for path in root.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    return sorted(
        name
        for name in names
        if not ((left / name).exists() and (right / name).exists())
        or not filecmp.cmp(left / name, right / name, shallow=False)
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--rebase", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        generate(fresh)
        if arguments.check:
            stale = differences(fresh, OUTPUT)
            if stale:
                print("Generated code is stale; run `make gen`:", *stale, sep="\n  ")
                return 1
            return 0
        shutil.rmtree(OUTPUT, ignore_errors=True)
        shutil.copytree(fresh, OUTPUT)
    if arguments.rebase or not BASELINE.exists():
        subprocess.run([str(BIN / "buf"), "build", "--exclude-source-info", "-o", str(BASELINE)], check=True, cwd=PROTO)
    return 0


if __name__ == "__main__":
    sys.exit(main())
