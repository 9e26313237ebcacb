"""The demo's report: one JSON document for programs, one page with pictures for people."""

from __future__ import annotations

import html
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

from kestrel_cli.demo.charts import equity_chart, latency_chart
from kestrel_cli.demo.collect import DatabaseReading, JournalReading, Moment
from kestrel_cli.demo.counts import Comparison
from kestrel_cli.demo.figures import Latency
from kestrel_cli.demo.stage import Story


@dataclass(slots=True)
class Result:
    """Everything the report says."""

    comparison: Comparison
    chain_verified: bool
    chains: list[dict[str, Any]]
    story: Story
    journal: JournalReading
    database: DatabaseReading
    latencies: list[Latency]
    venue_orders: int
    venue_fills: int
    repeated_requests: int
    last_run: str
    options: dict[str, Any]
    elapsed_s: float
    at_rest: bool
    problems: list[str] = field(default_factory=list)
    days: list[date] = field(default_factory=list)

    @property
    def good(self) -> bool:
        return self.comparison.clean and self.chain_verified and self.at_rest


def to_object(result: Result) -> dict[str, Any]:
    """The four counts and the chain's verdict on top, then all else."""
    comparison, database, story = result.comparison, result.database, result.story
    groups, singles = database.groups, database.singles
    tokens = groups.get("tokens", {})
    return {
        "orders_lost": comparison.orders_lost,
        "orders_doubled": comparison.orders_doubled,
        "fills_lost": comparison.fills_lost,
        "fills_doubled": comparison.fills_doubled,
        "chain_verified": result.chain_verified,
        "at_rest": result.at_rest,
        "findings": comparison.findings,
        "problems": result.problems,
        "signals": groups.get("signals", {}),
        "intents": singles.get("intents", 0),
        "decisions": groups.get("decisions", {}),
        "approvals": groups.get("approvals", {}),
        "orders": {**groups.get("orders", {}), "at_venue": result.venue_orders},
        "orders_by_end": groups.get("orders_by_end", {}),
        "order_requests_repeated": result.repeated_requests,
        "fills": {
            "venue": result.venue_fills,
            "journal": len(result.journal.book.fills),
            "database": singles.get("fills", 0),
        },
        "partials": singles.get("orders_filled_in_part_first", 0),
        "rejects": singles.get("rejects", 0),
        "denied_by_gateway": singles.get("denied_by_gateway", 0),
        "tokens": {
            "issued": tokens.get("ISSUED", 0),
            "used": tokens.get("USED", 0),
            "expired": tokens.get("EXPIRED", 0),
            "refused": tokens.get("REJECTED", 0),
        },
        "exits_by_warrant": groups.get("orders", {}).get("exits_by_warrant", 0),
        "refusals": groups.get("refusals", {}),
        "kernel_refusals": groups.get("kernel_refusals", {}),
        "reconciliation": {
            "runs": groups.get("reconciliation_runs", {}),
            "breaks": groups.get("breaks", {}),
            "resolved": groups.get("breaks_resolved", {}),
            "last_run": result.last_run,
        },
        "alerts": groups.get("alerts", {}),
        "beads": groups.get("beads", {}),
        "chains": result.chains,
        "anomalies": groups.get("anomalies", {}),
        "parked": groups.get("parked", {}),
        "messages_parked": sum(groups.get("parked", {}).values()),
        "rows": database.rows,
        "latency_ms": {each.hop: _latency(each) for each in result.latencies},
        "account": _account(result.journal.moments),
        "trades": [{name: _plain(value) for name, value in trade.items()} for trade in database.trades],
        "people": {
            "approved_by_hand": story.approved_by_hand,
            "passed": story.passed,
            "left_waiting": story.left_waiting,
            "expired": story.expired,
            "refused": story.refused,
            "drift": story.drift,
            "kill": story.kill,
            "flat_at_the_end": story.flat,
        },
        "market": {"bars": story.bar_count, "days": len(story.published)},
        "journal": {"entries": result.journal.entry_count, "state_digest": result.journal.state_digest},
        "options": result.options,
        "elapsed_s": round(result.elapsed_s, 1),
    }


def write_report(result: Result, folder: Path) -> tuple[Path, Path]:
    """Write ``report.json`` and ``report.html``; returns where they are."""
    folder.mkdir(parents=True, exist_ok=True)
    document = to_object(result)
    json_path, html_path = folder / "report.json", folder / "report.html"
    json_path.write_text(json.dumps(document, indent=2) + "\n")
    html_path.write_text(to_html(result, document))
    return json_path, html_path


def to_html(result: Result, document: dict[str, Any]) -> str:
    """One page, whole in itself: no script, nothing fetched."""
    points = by_market_day(result.journal.moments, result.story.published)
    verdict = "Nothing lost, nothing doubled, the chain holds." if result.good else "Something is wrong. See below."
    parts = [
        f'<h1>Kestrel, a demonstration</h1><p class="verdict {"good" if result.good else "bad"}">{verdict}</p>',
        f'<div class="cards">{"".join(_cards(document))}</div>',
        "<h2>Equity and exposure</h2>",
        equity_chart(points),
        "<h2>Latency by hop</h2>",
        latency_chart(result.latencies),
        _latency_table(result.latencies),
        "<h2>What happened</h2>",
        f'<div class="tables">{"".join(_tables(document))}</div>',
        _list("What people were refused", result.story.refused),
        _list("Findings", result.comparison.findings),
        _list("Problems", result.problems),
        "<h2>Trades</h2>",
        _trades(document["trades"]),
        _about(document),
    ]
    return _PAGE.replace("{body}", "\n".join(parts))


def by_market_day(
    moments: Sequence[Moment], published: Sequence[tuple[int, date]]
) -> list[tuple[date, Decimal, Decimal]]:
    """The account at the end of each market day: its last state before the next day's bars were published."""
    points: list[tuple[date, Decimal, Decimal]] = []
    ordered = sorted(moments, key=lambda moment: moment.time_ns)
    position, last = 0, None
    for index, (_, day) in enumerate(published):
        until = published[index + 1][0] if index + 1 < len(published) else None
        while position < len(ordered) and (until is None or ordered[position].time_ns < until):
            last = ordered[position]
            position += 1
        if last is not None:
            points.append((day, last.equity, last.exposure))
    return points


def _cards(document: dict[str, Any]) -> list[str]:
    counts = ("orders_lost", "orders_doubled", "fills_lost", "fills_doubled")
    cards = [_card(name.replace("_", " "), str(document[name]), good=document[name] == 0) for name in counts]
    cards.append(
        _card("chain", "verified" if document["chain_verified"] else "broken", good=document["chain_verified"])
    )
    account = document["account"]
    for name in ("equity_at_end", "result"):
        if account.get(name):
            cards.append(_card(name.replace("_", " "), f"{Decimal(account[name]):,.2f} USD"))
    cards.append(_card("orders", str(document["orders"]["at_venue"])))
    cards.append(_card("fills", str(document["fills"]["venue"])))
    cards.append(_card("took", f"{document['elapsed_s']} s"))
    return cards


def _card(name: str, value: str, *, good: bool | None = None) -> str:
    style = "" if good is None else " good" if good else " bad"
    return f'<div class="card{style}"><b>{html.escape(value)}</b><span>{html.escape(name)}</span></div>'


def _tables(document: dict[str, Any]) -> list[str]:
    wanted = (
        "signals", "decisions", "approvals", "orders", "orders_by_end", "fills", "tokens", "refusals", "alerts",
        "beads", "anomalies", "parked", "rows",
    )  # fmt: skip
    tables = [_mapping(name.replace("_", " "), document[name]) for name in wanted]
    singles = {
        name: document[name]
        for name in ("intents", "partials", "rejects", "denied_by_gateway", "exits_by_warrant", "messages_parked")
    }
    recon = document["reconciliation"]
    reconciliation = {
        **{f"run {name}": count for name, count in recon["runs"].items()},
        **{f"break {name}": count for name, count in recon["breaks"].items()},
        **{f"resolved {name}": count for name, count in recon["resolved"].items()},
        "last run": recon["last_run"],
    }
    chains = {chain["name"]: "verified" if chain["verified"] else chain["problem"] for chain in document["chains"]}
    return [
        _mapping("figures", singles),
        *tables,
        _mapping("reconciliation", reconciliation),
        _mapping("chains", chains),
    ]


def _mapping(title: str, values: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td>{html.escape(str(name).replace('_', ' '))}</td><td>{html.escape(str(value))}</td></tr>"
        for name, value in values.items()
    )
    return f"<table><caption>{html.escape(title)}</caption>{rows or '<tr><td>none</td><td></td></tr>'}</table>"


def _latency_table(latencies: Sequence[Latency]) -> str:
    rows = "".join(
        f"<tr><td>{html.escape(each.hop)}</td><td>{each.count}</td><td>{each.p50_ms:,.2f}</td>"
        f"<td>{each.p99_ms:,.2f}</td><td>{each.max_ms:,.2f}</td></tr>"
        for each in latencies
    )
    return f"<table><tr><th>hop</th><th>times</th><th>p50 ms</th><th>p99 ms</th><th>max ms</th></tr>{rows}</table>"


def _trades(trades: Sequence[dict[str, Any]]) -> str:
    if not trades:
        return "<p>none</p>"
    names = list(trades[0])
    head = "".join(f"<th>{html.escape(name.replace('_', ' '))}</th>" for name in names)
    rows = "".join(
        "<tr>" + "".join(f"<td>{html.escape(_cell(name, trade[name]))}</td>" for name in names) + "</tr>"
        for trade in trades
    )
    return f"<table><tr>{head}</tr>{rows}</table>"


def _cell(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if name == "trade_id":
        return str(value)[:10]
    try:
        return f"{Decimal(value):,.2f}" if name not in ("symbol", "lifecycle", "entry_qty") else str(value)
    except (ArithmeticError, ValueError):
        return str(value)


def _list(title: str, lines: Sequence[str]) -> str:
    if not lines:
        return ""
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return f"<h2>{html.escape(title)}</h2><ul>{items}</ul>"


def _about(document: dict[str, Any]) -> str:
    options = document["options"]
    return (
        "<h2>How these figures were made</h2><p>The four counts compare three books that know nothing of each other:"
        " the venue's ledger (what the broker says it saw), the journal read back from its first entry with every"
        " hash checked, and SQL on the database. Equity and exposure come from the journal, latencies from the time"
        f" stamps of the database's rows. The venue is {html.escape(str(options.get('told')))}, account"
        f" {html.escape(str(options.get('account')))}; it runs in mode <i>{options.get('mode')}</i>, with seed"
        f" {options.get('seed')}; its delays are scaled to {options.get('delay_scale_permille')} thousandths, so that"
        f" those of 10 to 30 s fit.{_NOTES.get(str(options.get('venue')), '')}"
        f" Made {datetime.now().astimezone():%Y-%m-%d %H:%M:%S %Z}.</p>"
    )


_NOTES = {
    "tws-sim": " Interactive Brokers tells the time of an execution in whole seconds, so the hop from the venue's fill"
    " to its receipt looks longer than it is, by half a second on average."
}


def _account(moments: Sequence[Moment]) -> dict[str, str]:
    if not moments:
        return {}
    first, last = moments[0], moments[-1]
    return {
        "equity_at_start": str(first.equity),
        "equity_at_end": str(last.equity),
        "result": str(last.equity - first.equity),
        "exposure_max": str(max(moment.exposure for moment in moments)),
        "exposure_at_end": str(last.exposure),
    }


def _latency(each: Latency) -> dict[str, Any]:
    return {name: round(value, 3) for name, value in asdict(each).items() if name != "hop"}


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Decimal) else value


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Kestrel, a demonstration</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
:root { color-scheme: light dark; --line: #8883; --good: #16803c; --bad: #c0262d; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1080px; margin: 2rem auto; padding: 0 1rem; }
h1 { margin-bottom: .2rem; } h2 { margin-top: 2.2rem; }
.verdict { font-size: 1.15rem; font-weight: 600; } .good { color: var(--good); } .bad { color: var(--bad); }
.cards { display: flex; flex-wrap: wrap; gap: .7rem; }
.card { border: 1px solid var(--line); border-radius: 8px; padding: .6rem 1rem; min-width: 6.5rem; }
.card b { display: block; font-size: 1.35rem; font-variant-numeric: tabular-nums; } .card span { opacity: .7; }
.tables { display: flex; flex-wrap: wrap; gap: 1.2rem; align-items: flex-start; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .4rem 0; }
caption { text-align: left; font-weight: 600; padding: .2rem .5rem; }
td, th { border-top: 1px solid var(--line); padding: .18rem .6rem; text-align: right; }
td:first-child, th:first-child { text-align: left; }
svg { width: 100%; height: auto; background: #fff; border-radius: 8px; }
</style></head><body>
{body}
</body></html>
"""
