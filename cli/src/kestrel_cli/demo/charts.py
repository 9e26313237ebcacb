"""Pictures of the report, as SVG that goes into the page."""

from __future__ import annotations

import io
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any

from kestrel_cli.demo.figures import Latency

_INK, _GRID, _EQUITY, _EXPOSURE, _P50, _P99 = "#222222", "#dddddd", "#0f5fa8", "#d98200", "#0f5fa8", "#9dc3e6"
_WIDTH = 10.5


def equity_chart(points: Sequence[tuple[date, Decimal, Decimal]]) -> str:
    """Equity above, exposure below, by market day."""
    if not points:
        return "<p>The journal holds no account state.</p>"
    figure, (above, below) = _subplots(2, 5.6, sharex=True, height_ratios=(2, 1))
    days = [point[0] for point in points]
    equity = [float(point[1]) for point in points]
    exposure = [float(point[2]) for point in points]
    above.plot(days, equity, color=_EQUITY, linewidth=1.6)
    above.axhline(equity[0], color=_INK, linewidth=0.6, linestyle=":")
    above.set_ylabel("equity, USD")
    below.fill_between(days, exposure, color=_EXPOSURE, alpha=0.55, linewidth=0)
    below.set_ylabel("exposure, USD")
    below.set_ylim(bottom=0)
    for axis in (above, below):
        _tidy(axis)
    figure.autofmt_xdate()
    return _svg(figure)


def latency_chart(latencies: Sequence[Latency]) -> str:
    """Median and 99th percentile of each hop, on a logarithmic scale."""
    known = [each for each in latencies if each.count]
    if not known:
        return "<p>No hop was measured.</p>"
    figure, (axis,) = _subplots(1, 0.6 + 0.52 * len(known))
    places = range(len(known))
    floor_ms = 0.01
    axis.barh(places, [max(each.p99_ms, floor_ms) for each in known], height=0.62, color=_P99, label="p99")
    axis.barh(places, [max(each.p50_ms, floor_ms) for each in known], height=0.3, color=_P50, label="p50")
    axis.set_yticks(list(places), [each.hop for each in known])
    axis.invert_yaxis()
    axis.set_xscale("log")
    axis.set_xlim(left=max(min(each.p50_ms for each in known) / 3, floor_ms))
    axis.xaxis.set_major_formatter("{x:g}")
    axis.set_xlabel("milliseconds, logarithmic")
    axis.legend(loc="best", frameon=False)
    _tidy(axis)
    return _svg(figure)


def _subplots(count: int, height: float, **options: Any) -> tuple[Any, Any]:
    """A figure without the global state of pyplot, and its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, height), layout="constrained")
    ratios = options.pop("height_ratios", None)
    grid = {"height_ratios": ratios} if ratios else None
    axes = figure.subplots(count, 1, squeeze=False, gridspec_kw=grid, **options)
    return figure, [row[0] for row in axes]


def _tidy(axis: Any) -> None:
    axis.grid(color=_GRID, linewidth=0.6)
    axis.set_axisbelow(True)
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
    if axis.get_ylabel():
        axis.yaxis.set_major_formatter("{x:,.0f}")


def _svg(figure: Any) -> str:
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "kestrel", "font.family": "sans-serif"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
