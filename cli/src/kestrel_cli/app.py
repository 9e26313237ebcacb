"""All commands, and the one place where a failure becomes a sentence and an exit code."""

from __future__ import annotations

from importlib.metadata import version as package_version
from typing import Annotated, Any

import typer
from rich.markup import escape
from typer.core import TyperGroup

from kestrel_cli import output
from kestrel_cli.commands import (
    authority,
    books,
    journal,
    lifecycle,
    market,
    reconciliation,
    record,
    signals,
    simulate,
    venue,
)
from kestrel_cli.errors import USAGE, CommandFailed


class KestrelGroup(TyperGroup):
    """Turns CommandFailed into what people read: what happened, what to do next, and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        from kestrel_domain.errors import InvalidRequest

        try:
            return super().invoke(ctx)
        except CommandFailed as failure:
            _complain(str(failure), failure.next_step)
            raise typer.Exit(failure.code) from failure
        except InvalidRequest as error:
            _complain(str(error), "see the command's --help")
            raise typer.Exit(USAGE) from error


app = typer.Typer(
    cls=KestrelGroup,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    help="Kestrel carries trading decisions to a broker, and keeps proving that its books are the broker's.",
    epilog="Start with `kestrel up`, or see everything at work with `kestrel demo`.",
)


def _complain(message: str, next_step: str) -> None:
    screen = output.console(stderr=True)
    screen.print(f"[red]{output.COMPLAINT}[/]{escape(message)}", soft_wrap=True)
    if next_step:
        screen.print(f"[dim]{output.NEXT_STEP}[/]{escape(next_step)}", soft_wrap=True)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"kestrel {package_version('kestrel-cli')}")
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Kestrel carries trading decisions to a broker, and keeps proving that its books are the broker's."""


lifecycle.register(app)
authority.register(app)
books.register(app)
signals.register(app)
market.register(app)
reconciliation.register(app)
record.register(app)
journal.register(app)
simulate.register(app)
venue.register(app)
