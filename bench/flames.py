"""A flame graph as an SVG, from collapsed stacks: ``frame;frame;frame 12`` a line, as ``py-spy record -f raw`` writes
them. What made the stacks is not needed to draw them.

    python -m bench.flames docs/images/path-flames.svg kernel=kernel.txt governance=governance.txt

Each file becomes a root; a frame is as wide as its share of all samples, callers stand below what they call.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

_WIDTH, _ROW, _TOP = 1200.0, 17, 30
_SHOWN_MIN = 0.0015
"""Share of all samples below which a frame is left out: it would be thinner than two pixels."""
_LETTER = 6.3
_COLORS = ("#4c78a8", "#f58518", "#54a24b", "#b279a2", "#e45756", "#72b7b2", "#9d755d")
_WITHOUT = re.compile(r"^(_run_module_as_main|_run_code|<module>|Runner\.run|run \(uvloop|main \(kestrel|process \d)")
"""How every service begins: of no interest, and as wide as everything."""


@dataclass(slots=True)
class Frame:
    """One function, called by the one below it; ``count``: samples in it and in what it called."""

    name: str
    count: int = 0
    calls: dict[str, Frame] = field(default_factory=dict)

    def add(self, names: Sequence[str], count: int) -> None:
        self.count += count
        frame = self
        for name in names:
            frame = frame.calls.setdefault(name, Frame(name))
            frame.count += count

    @property
    def depth(self) -> int:
        return 1 + max((each.depth for each in self.calls.values()), default=0)


def collapsed(lines: Iterable[str]) -> Iterator[tuple[list[str], int]]:
    """Stacks, outermost frame first, and how often each was seen; line numbers and what all have in common left out."""
    for line in lines:
        stack, _, count = line.rstrip().rpartition(" ")
        if stack and count.isdigit():
            names = [re.sub(r":\d+\)$", ")", name) for name in stack.split(";")]
            yield [name for name in names if not _WITHOUT.match(name)], int(count)


def tree(stacks: Iterable[tuple[str, Iterable[str]]]) -> Frame:
    """``stacks``: for each root its lines."""
    whole = Frame("all")
    for root, lines in stacks:
        for names, count in collapsed(lines):
            whole.add([root, *names], count)
    return whole


def svg(whole: Frame, title: str) -> str:
    """Raises ``ValueError`` when there are no samples."""
    if not whole.count:
        raise ValueError("no samples")
    height = _TOP + whole.depth * _ROW + 8
    shapes = list(_shapes(whole, whole.count, 0.0, height - 8 - _ROW, ""))
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH:.0f} {height}" width="{_WIDTH:.0f}"'
            f' height="{height}" font-family="monospace" font-size="10.5">',
            f'<rect width="{_WIDTH:.0f}" height="{height}" fill="#ffffff"/>',
            f'<text x="6" y="19" font-size="13">{escape(title)}</text>',
            *shapes,
            "</svg>",
            "",
        ]
    )


def _shapes(frame: Frame, total: int, x: float, y: float, color: str) -> Iterator[str]:
    width = frame.count / total * _WIDTH
    share = f"{frame.name}: {frame.count / total:.1%}"
    shown = frame.name[: int((width - 6) / _LETTER)]
    yield (
        f'<g><title>{escape(share)}</title><rect x="{x:.1f}" y="{y}" width="{max(width - 0.5, 0.5):.1f}"'
        f' height="{_ROW - 1}" fill="{color or "#dddddd"}" fill-opacity="0.55"/>'
        + (f'<text x="{x + 3:.1f}" y="{y + 12}">{escape(shown)}</text>' if len(shown) > 2 else "")
        + "</g>"
    )
    for place, each in enumerate(sorted(frame.calls.values(), key=lambda called: -called.count)):
        if each.count / total >= _SHOWN_MIN:
            of_root = color or _COLORS[place % len(_COLORS)]
            yield from _shapes(each, total, x, y - _ROW, of_root)
        x += each.count / total * _WIDTH


def main(arguments: Sequence[str]) -> int:
    out, *files = arguments
    named = [one.partition("=") for one in files]
    whole = tree((name, Path(path).read_text().splitlines()) for name, _, path in named)
    Path(out).write_text(svg(whole, f"{whole.count:,} samples: {', '.join(name for name, _, _ in named)}"))
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
