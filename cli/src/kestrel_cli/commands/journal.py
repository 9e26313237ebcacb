"""The journal as a file: export it, replay it, compare two. What the file holds: libkernel/replay/export_file.h."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from kestrel_cli import options, output
from kestrel_cli.errors import REFUSED, USAGE, CommandFailed
from kestrel_cli.platform.layout import Layout

if TYPE_CHECKING:
    from kestrel_cli.journal.compare import Divergence
    from kestrel_cli.journal.replay import Replayer, Step
    from kestrel_cli.journal.sources import Source

_INTERRUPTED = 130
_HASH_SHOWN = 12
_FACT_SHOWN = 32
_DIFFERENCES_SHOWN = 5
_DEFAULT_ROWS = 20
_PROGRESS_STEPS = 500
_DEFAULT_PARTITION = 0

Partition = Annotated[int, typer.Option("--partition", min=0, max=1023, help="Whose journal.")]
Until = Annotated[int | None, typer.Option("--until", min=1, help="The last entry; the present end when not given.")]

journal_app = typer.Typer(
    no_args_is_help=True, help="The journal as a file that anyone can check: export, replay, compare."
)


def register(app: typer.Typer) -> None:
    app.add_typer(journal_app, name="journal")


@journal_app.command("export")
def export(
    file: Annotated[Path, typer.Argument(help="The file to write; by custom it ends in .kj")],
    partition: Partition = _DEFAULT_PARTITION,
    first: Annotated[int, typer.Option("--from", min=1, help="The first entry; the states before it are added.")] = 1,
    until: Until = None,
    account: options.AnyAccount = "",
    hashes_only: Annotated[
        bool, typer.Option("--hashes-only", help="Leave the stored entries out, and with them tokens and warrants.")
    ] = False,
    unverified: Annotated[
        bool, typer.Option("--unverified", help="Write the file even if the journal and its replay differ.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", "-f", help="Replace the file if it exists.")] = False,
    json: options.Json = False,
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
) -> None:
    """Write the journal into a file, for [bold]lk-replay[/] and for auditors.

    Chain, digests and outcomes are verified meanwhile; the file appears whole or not at all, and says so inside. It
    holds stored entries with their tokens and exit warrants: keep it as you keep the database, or use --hashes-only.

    [dim]Examples:[/]
      kestrel journal export monday.kj
      kestrel journal export --from 5000 --until 6000 --account PAPER-1 hour.kj
    """
    if until is not None and until < first:
        raise CommandFailed(
            f"entry {until} is before entry {first}", next_step="--until comes after --from", code=USAGE
        )
    if file.exists() and not force:
        raise CommandFailed(f"{file} exists", next_step="choose another name, or replace it with --force", code=USAGE)
    wanted = _Export(file, partition, first, until, account, not hashes_only, not unverified, force)
    with _explained("nothing was written"):
        summary = asyncio.run(_export(Layout(data_dir.resolve()), wanted, quiet=json))
    if json:
        output.print_json(summary)
        return
    screen = output.console()
    proof = "verified" if summary["verified"] else f"NOT verified: {summary['differing']} entries differ"
    screen.print(
        f"[green]✓[/] {escape(str(file))}: entries {summary['first_sequence']} to {summary['last_sequence']}, "
        f"{summary['inputs']} inputs, {summary['accounts']} accounts, {summary['bytes']:,} bytes; "
        f"chain, digests and outcomes {proof}"
    )
    screen.print(f"  last entry's hash {summary['last_hash']}")
    screen.print(f"  [dim]check it without us: lk-replay {escape(str(file))}[/]")


@journal_app.command("replay")
def replay(
    file: Annotated[
        Path | None, typer.Argument(help="An exported file; the platform's journal when not given.")
    ] = None,
    partition: Partition = _DEFAULT_PARTITION,
    until: Until = None,
    account: options.AnyAccount = "",
    rows: Annotated[int, typer.Option("--limit", "-n", min=1, help="How many entries to show, the last ones.")] = (
        _DEFAULT_ROWS
    ),
    json: options.Json = False,
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
) -> None:
    """Apply every input again, and compare digest, outcome and what followed. Exit code 1 when anything differs.

    [dim]Examples:[/]
      kestrel journal replay
      kestrel journal replay monday.kj --until 1200 -n 50
    """
    with _explained():
        shown = asyncio.run(_replay(Layout(data_dir.resolve()), file, partition, until, account, rows, quiet=json))
    if json:
        output.print_json(shown)
    else:
        _show_replay(shown)
    summary = shown["summary"]
    if not summary["matches"]:
        worst = shown["differing"][0]
        found = worst["differences"][0]
        raise CommandFailed(
            f"entry {worst['sequence']}: {found['field']} {found['value']}: {found['rule']}",
            next_step=f"look at it: kestrel journal replay{f' {file}' if file else ''} --until {worst['sequence']}",
            code=REFUSED,
        )


@journal_app.command("diff")
def diff(
    a: Annotated[Path, typer.Argument(help="An exported file.")],
    b: Annotated[Path | None, typer.Argument(help="Another one; the platform's journal when not given.")] = None,
    json: options.Json = False,
    data_dir: options.DataDir = options.DEFAULT_DATA_DIR,
) -> None:
    """The first entry in which two journals differ, side by side. Exit code 1 when there is one.

    The entries that both have are compared; that one of them goes on is said, and is no difference.

    [dim]Examples:[/]
      kestrel journal diff monday.kj
      kestrel journal diff ours.kj theirs.kj
    """
    with _explained():
        found = asyncio.run(_diff(Layout(data_dir.resolve()), a, b, quiet=json))
    if json:
        output.print_json(found)
    else:
        _show_diff(found)
    if found["sequence"] is not None:
        raise CommandFailed(
            f"entry {found['sequence']} differs: {', '.join(found['fields'][:_DIFFERENCES_SHOWN])}",
            next_step="keep both as they are; the first difference is where to begin",
            code=REFUSED,
        )


# --- export ----------------------------------------------------------------------------------------------------------


class _Export:
    """What is to be written."""

    def __init__(
        self, file: Path, partition: int, first: int, until: int | None, account: str, has_entries: bool,
        verify: bool, replace: bool,
    ) -> None:  # fmt: skip
        self.file, self.partition, self.first, self.until, self.account = file, partition, first, until, account
        self.has_entries, self.verify, self.replace = has_entries, verify, replace


async def _export(layout: Layout, wanted: _Export, *, quiet: bool) -> dict[str, Any]:
    from kestrel_chassis.journal_file import writing
    from kestrel_cli.journal import records, sources
    from kestrel_cli.journal.export import Exporter

    async with sources.connected(layout) as bus:
        source = await sources.live(bus, wanted.partition, until=wanted.until, account=wanted.account)
        if source.total < wanted.first:
            raise CommandFailed(
                f"{source.name} ends at entry {source.total}, before entry {wanted.first}",
                next_step="choose an earlier one with --from",
                code=USAGE,
            )
        header = records.header(
            wanted.partition,
            account=wanted.account,
            has_entries=wanted.has_entries,
            was_verified=wanted.verify,
        )
        with writing(wanted.file, replace=wanted.replace) as file:
            exporter = Exporter(file, header, wanted.first)
            with contextlib.closing(exporter.replayer), _progress("exporting", source.total, quiet=quiet) as advance:
                async for record, done in source.records:
                    exporter.take(record)
                    advance(done)
                totals = exporter.finish()
            size = file.tell()
        differing = exporter.replayer.counts.differing
    return {
        "file": str(wanted.file),
        "stream": source.name,
        "first_sequence": wanted.first,
        "last_sequence": totals.last_sequence,
        "last_hash": totals.last_hash.hex(),
        "entries": totals.entry_count,
        "inputs": totals.input_count,
        "accounts": totals.account_count,
        "bytes": size,
        "verified": wanted.verify,
        "differing": differing,
    }


# --- replay ----------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def _source(
    layout: Layout, file: Path | None, *, partition: int = 0, until: int | None = None, account: str = ""
) -> AsyncIterator[Source]:
    from kestrel_cli.journal import sources

    if file is not None:
        with sources.opened(file) as source:
            yield source
        return
    async with sources.connected(layout) as bus:
        yield await sources.live(bus, partition, until=until, account=account)


async def _steps(source: Source, replayer: Replayer, advance: Callable[[int], None]) -> AsyncIterator[Step]:
    async for record, done in source.records:
        step = replayer.take(record)
        advance(done)
        if step is not None:
            yield step


async def _replay(
    layout: Layout, file: Path | None, partition: int, until: int | None, account: str, rows: int, *, quiet: bool
) -> dict[str, Any]:
    from kestrel_cli.journal.compare import account_facts, slot_facts
    from kestrel_cli.journal.replay import Replayer

    last: deque[dict[str, Any]] = deque(maxlen=rows)
    differing: list[dict[str, Any]] = []
    async with _source(layout, file, partition=partition, until=until, account=account) as source:
        with (
            contextlib.closing(Replayer(source.header, is_translated=source.is_live)) as replayer,
            _progress("replaying", source.total, quiet=quiet) as advance,
        ):
            async for step in _steps(source, replayer, advance):
                if not account or step.entry.account == account:
                    last.append(_described(step))
                if step.differences and len(differing) < _DIFFERENCES_SHOWN:
                    differing.append(_described(step))
                if step.entry.sequence == until:
                    break
            accounts = [
                {"account": name, "sequence": sequence, "digest": digest} | account_facts(kernel) | slot_facts(kernel)
                for name, kernel, sequence, digest in replayer.accounts()
                if not account or name == account
            ]
            counts = replayer.counts
    summary = {
        "source": source.name,
        "entries": counts.entries,
        "inputs": counts.inputs,
        "epochs": counts.epochs,
        "parked": counts.parked,
        "omitted": counts.omitted,
        "hashed_here": counts.hashed,
        "last_sequence": counts.last_sequence,
        "last_hash": counts.last_hash,
        "differing": counts.differing,
        "first_difference": counts.first_difference,
        "matches": not counts.differing,
    }
    return {"entries": list(last), "differing": differing, "accounts": accounts, "summary": summary}


def _described(step: Step) -> dict[str, Any]:
    from kestrel_cli.journal.compare import position_after
    from kestrel_cli.journal.replay import kind_of

    entry, result = step.entry, step.result
    return {
        "sequence": entry.sequence,
        "input_sequence": entry.input_sequence,
        "account": entry.account,
        "what": kind_of(entry),
        "outcome": result.code.name if result else "",
        "transitions": [
            {"slot": each.slot_index, "from": each.from_stage.name, "to": each.to_stage.name}
            for each in (result.transitions if result else ())
        ],
        "position": position_after(step),
        "digest": step.digest.hex(),
        "entry_hash": entry.hash.hex(),
        "matches": not step.differences,
        "differences": [{"field": each.field, "value": each.value, "rule": each.rule} for each in step.differences],
    }


def _show_replay(shown: dict[str, Any]) -> None:
    screen, summary = output.console(), shown["summary"]
    rows = [
        (
            str(each["sequence"]),
            str(each["input_sequence"] or ""),
            escape(each["account"]),
            escape(each["what"]),
            escape(each["outcome"]),
            escape(each["transitions"][-1]["to"] if each["transitions"] else ""),
            escape(each["position"]),
            each["digest"][:_HASH_SHOWN],
            "[green]✓[/]" if each["matches"] else "[bold red]✗ differs[/]",
        )
        for each in shown["entries"]
    ]
    columns = ("entry", "input", "account", "what", "outcome", "now", "position", "digest", "")
    title = f"{Path(summary['source']).name}: the last {len(rows)} of {summary['entries']} entries"
    screen.print(output.table(title, columns, rows, right=("entry", "input")))
    for each in shown["differing"]:
        for found in each["differences"]:
            text = f"{found['field']} {found['value']}: {found['rule']}"
            screen.print(f"[red]✗[/] entry {each['sequence']}: {escape(text)}")
    for each in shown["accounts"]:
        screen.print(f"{escape(each['account'])} after entry {each['sequence']}: digest {each['digest'].hex()}")
    chain = (
        "every hash computed here"
        if summary["hashed_here"] == summary["entries"]
        else (
            f"{summary['hashed_here']} of {summary['entries']} hashes computed here, the others as the file states them"
        )
    )
    screen.print(f"entry {summary['last_sequence']} has hash {summary['last_hash'].hex()} ({chain})")
    if summary["matches"]:
        screen.print(f"[green]✓[/] {summary['inputs']} inputs replayed: everything matches")


# --- diff ------------------------------------------------------------------------------------------------------------


async def _diff(layout: Layout, a: Path, b: Path | None, *, quiet: bool) -> dict[str, Any]:
    from kestrel_cli.journal import sources
    from kestrel_cli.journal.replay import Replayer

    async with contextlib.AsyncExitStack() as stack:
        source_a = stack.enter_context(sources.opened(a))
        one = source_a.header
        source_b = await stack.enter_async_context(_source(layout, b, partition=one.partition, account=one.account))
        two = source_b.header
        if (one.partition, one.account) != (two.partition, two.account):
            raise CommandFailed(
                f"{source_a.name} is of partition {one.partition}, account {one.account or 'all'}; "
                f"{source_b.name} of {two.partition}, {two.account or 'all'}",
                next_step="compare files of the same partition and accounts",
                code=USAGE,
            )
        replayer_a = stack.enter_context(contextlib.closing(Replayer(one)))
        replayer_b = stack.enter_context(contextlib.closing(Replayer(two, is_translated=source_b.is_live)))
        advance = stack.enter_context(_progress("comparing", source_a.total, quiet=quiet))
        steps_a = _steps(source_a, replayer_a, advance)
        steps_b = _steps(source_b, replayer_b, lambda done: None)
        first = max(one.first_sequence, two.first_sequence)
        compared, found, ended = await _first_difference(_from(first, steps_a), _from(first, steps_b))
    if not compared:
        raise CommandFailed(
            f"{source_a.name} and {source_b.name} have no entry in common",
            next_step="export a longer range",
            code=USAGE,
        )
    names = {"a": source_a.name, "b": source_b.name}
    return {
        **names,
        "first_sequence": first,
        "compared": compared,
        "goes_on": names.get(ended, ""),
        "sequence": found.sequence if found else None,
        "fields": found.fields if found else [],
        "rows": [{"field": row.name, "a": row.a, "b": row.b} for row in found.rows] if found else [],
    }


async def _from(first: int, steps: AsyncIterator[Step]) -> AsyncIterator[Step]:
    async for step in steps:
        if step.entry.sequence >= first:
            yield step


async def _first_difference(a: AsyncIterator[Step], b: AsyncIterator[Step]) -> tuple[int, Divergence | None, str]:
    """How many entries were compared, the first that differs, and which side goes on where the other has ended."""
    from kestrel_cli.journal.compare import difference

    compared = 0
    while True:
        one, two = await anext(a, None), await anext(b, None)
        if one is None or two is None:
            return compared, None, "a" if one else "b" if two else ""
        compared += 1
        found = difference(one, two)
        if found is not None:
            return compared, found, ""


def _show_diff(found: dict[str, Any]) -> None:
    screen = output.console()
    if found["sequence"] is not None:
        rows = [
            (
                f"[bold]{escape(row['field'])}[/]" if row["a"] != row["b"] else f"[dim]{escape(row['field'])}[/]",
                _side(row["a"], row["b"]),
                _side(row["b"], row["a"]),
            )
            for row in found["rows"]
        ]
        title = f"Entry {found['sequence']}, the first that differs"
        screen.print(output.table(title, ("", escape(Path(found["a"]).name), escape(Path(found["b"]).name)), rows))
        return
    screen.print(
        f"[green]✓[/] {found['compared']} entries from {found['first_sequence']} on are the same in "
        f"{escape(found['a'])} and {escape(found['b'])}"
    )
    if found["goes_on"]:
        screen.print(f"  [dim]{escape(found['goes_on'])} goes on after that[/]")


def _side(own: str, other: str) -> str:
    """One side of a fact; a hash is shown by its beginning, and whole with --json."""
    shown = escape(own if len(own) <= _FACT_SHOWN else own[: _FACT_SHOWN - 1] + "…")
    return shown if own == other else f"[red]{shown}[/]"


# --- shared ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _explained(consequence: str = "") -> Iterator[None]:
    """What can go wrong with a journal, as a sentence and an exit code."""
    from kestrel_chassis.journal_file import JournalFileDamaged
    from kestrel_domain.errors import InvariantBroken, KestrelError

    end = f"; {consequence}" if consequence else ""
    try:
        yield
    except JournalFileDamaged as error:
        raise CommandFailed(f"{error}{end}", next_step="export it again, or take another copy", code=USAGE) from error
    except InvariantBroken as error:
        raise CommandFailed(
            f"{error}{end}", next_step="look at it with `kestrel journal replay`, and see docs/concepts/replay.md"
        ) from error
    except KestrelError as error:
        raise CommandFailed(f"{error}{end}", code=REFUSED) from error
    except OSError as error:
        raise CommandFailed(f"{error}{end}", code=REFUSED) from error
    except KeyboardInterrupt as error:
        raise CommandFailed(f"interrupted{end}", code=_INTERRUPTED) from error


@contextlib.contextmanager
def _progress(what: str, total: int, *, quiet: bool) -> Iterator[Callable[[int], None]]:
    """A bar on standard error; call what it gives with the work done so far."""
    columns = (TextColumn(what), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=output.console(stderr=True), transient=True, disable=quiet) as progress:
        task = progress.add_task(what, total=total)

        next_shown = 0

        def advance(done: int) -> None:
            nonlocal next_shown
            if done >= next_shown:
                progress.update(task, completed=done)
                next_shown = done + total // _PROGRESS_STEPS

        yield advance
