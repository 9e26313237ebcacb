"""The supervisor's view of its processes, for people."""

from __future__ import annotations

from rich.markup import escape
from rich.table import Table

from kestrel_cli import output
from kestrel_cli.platform.supervisor import PlatformState


def process_table(state: PlatformState) -> Table:
    """The supervisor's own view: every process with its phase, port and time to readiness."""
    rows = []
    for each in state.processes:
        took = f"{each.ready_after_s:.1f} s" if each.ready_after_s is not None else ""
        note = escape(each.note) + (f" [yellow]({each.restarts} restarts)[/]" if each.restarts else "")
        rows.append(
            (light(each.phase), each.name, output.word(each.phase), str(each.port), str(each.pid or ""), took, note)
        )
    return output.table(
        "Kestrel",
        ("", "process", "is", "port", "pid", "ready after", "note"),
        rows,
        right=("port", "pid", "ready after"),
    )


def money_banner(environments: set[str]) -> str:
    """PAPER or LIVE, plainly. LIVE as soon as one service says so; anything that is not clear is no PAPER."""
    if "LIVE" in environments:
        return "[bold white on red] LIVE [/] real money moves"
    if environments == {"PAPER"}:
        return "[bold black on green] PAPER [/] no real money moves"
    return f"[bold black on yellow] {' / '.join(sorted(filter(None, environments))) or 'UNKNOWN'} [/] not certain"


def light(phase: str) -> str:
    return {"ready": "[green]●[/]", "stopped": "[dim]○[/]", "waiting": "[dim]○[/]"}.get(phase, "[yellow]◐[/]")
