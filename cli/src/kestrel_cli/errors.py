"""What a command says when it cannot do what was asked, and how it exits."""

from __future__ import annotations

REFUSED, USAGE, NOT_RUNNING = 1, 2, 3
"""Exit codes beside 0: refused or failed; wrong use; the platform does not run."""


class CommandFailed(Exception):
    """What happened, in one sentence; what to do next, in another; and the exit code."""

    def __init__(self, message: str, *, next_step: str = "", code: int = REFUSED) -> None:
        super().__init__(message)
        self.next_step = next_step
        self.code = code


def not_running(data_dir: object, problem: str = "") -> CommandFailed:
    """The platform does not run in this data directory."""
    return CommandFailed(
        problem or f"Kestrel does not run in {data_dir}",
        next_step="start it with `kestrel up`, or say where it runs with --data-dir",
        code=NOT_RUNNING,
    )
