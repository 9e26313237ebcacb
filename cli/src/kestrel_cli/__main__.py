"""``kestrel`` and ``python -m kestrel_cli``."""

from __future__ import annotations

import os


def main() -> None:
    """Run the command. gRPC's own log lines would only repeat, in its words, what we say in ours."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    from kestrel_cli.app import app

    app(prog_name="kestrel")


if __name__ == "__main__":
    main()
