"""How the demo is shown: a live picture on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time

from rich.console import Group, RenderableType
from rich.layout import Layout as ScreenLayout
from rich.live import Live
from rich.markup import escape
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from kestrel_cli import output
from kestrel_cli.demo.events import Line, Totals

_COLORS = {
    "signal": "blue", "decision": "cyan", "order": "white", "fill": "green", "recon": "magenta", "alert": "red",
    "kill": "red", "mandate": "yellow", "token": "red", "anomaly": "yellow", "person": "bold yellow", "demo": "bold",
}  # fmt: skip
_FRAMES_PER_S = 6
_SUMMARY_WIDTH, _CLOCK_WIDTH, _KIND_WIDTH = 42, 12, 8


class Screen:
    """A context manager; ``add`` a line, and it appears."""

    def __init__(self, totals: Totals, *, quiet: bool = False) -> None:
        self.totals = totals
        self._began = time.monotonic()
        self._console = output.console()
        self._live: Live | None = None
        self._quiet = quiet

    def __enter__(self) -> Screen:
        if sys.stdout.isatty() and not self._quiet:
            self._live = Live(
                get_renderable=self.picture, console=self._console, refresh_per_second=_FRAMES_PER_S, transient=True
            )
            self._live.start()
        return self

    def __exit__(self, *details: object) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def add(self, *lines: Line) -> None:
        for line in lines:
            self.totals.lines.append(line)
            if self._live is None and not self._quiet:
                sys.stdout.write(f"{output.clock(line.time_ns)} {line.kind:<9} {plain(line.text)}\n")
        if lines and self._live is None and not self._quiet:
            sys.stdout.flush()

    def say(self, text: str, kind: str = "demo") -> None:
        """A line of the demo's own."""
        self.add(Line(time.time_ns(), kind, text))

    def picture(self) -> RenderableType:
        height = max(self._console.size.height - 1, 12)
        whole = ScreenLayout(size=height)
        whole.split_row(ScreenLayout(name="feed"), ScreenLayout(name="summary", size=_SUMMARY_WIDTH))
        whole["feed"].update(self._feed(height - 2))
        whole["summary"].update(self._summary())
        return whole

    def _feed(self, height: int) -> Panel:
        table = Table.grid(padding=(0, 1), expand=True)
        table.add_column(no_wrap=True, style="dim", width=_CLOCK_WIDTH)
        table.add_column(no_wrap=True, width=_KIND_WIDTH)
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        for line in list(self.totals.lines)[-height:]:
            color = _COLORS.get(line.kind, "white")
            table.add_row(output.clock(line.time_ns), f"[{color}]{line.kind}[/]", line.text)
        return Panel(table, title="[bold]what happens[/]", title_align="left", border_style="dim")

    def _summary(self) -> Panel:
        totals = self.totals
        grid = Table.grid(padding=(0, 1), expand=True)
        grid.add_column(style="dim")
        grid.add_column(justify="right")
        grid.add_row("stage", f"[bold]{escape(totals.stage)}[/]")
        grid.add_row("market day", totals.day)
        grid.add_row("", f"{totals.day_index} of {totals.day_count}")
        grid.add_row("running for", f"{time.monotonic() - self._began:.0f} s")
        grid.add_row("equity", f"[bold]{totals.equity}[/] USD")
        grid.add_row("exposure", f"{totals.exposure} USD")
        grid.add_row("open trades", str(totals.open_slots))
        grid.add_row("", "")
        for name in sorted(totals.counts):
            grid.add_row(name, str(totals.counts[name]))
        progress = ProgressBar(total=max(totals.day_count, 1), completed=totals.day_index)
        title = "[bold black on green] PAPER [/] [bold]Kestrel[/]"
        return Panel(Group(progress, Text(""), grid), title=title, title_align="left", border_style="dim")


def plain(text: str) -> str:
    """Without markup; a bracket that was escaped is a bracket again."""
    return Text.from_markup(text).plain
