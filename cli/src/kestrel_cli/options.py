"""Options that many commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

DEFAULT_DATA_DIR = Path("var/kestrel")

DataDir = Annotated[
    Path,
    typer.Option("--data-dir", envvar="KESTREL_DATA_DIR", help="The platform's data directory.", show_default=True),
]
Operator = Annotated[
    str, typer.Option("--as", metavar="OPERATOR", help="Whose credential to use: trader, risk, admin.")
]
Json = Annotated[bool, typer.Option("--json", help="JSON on standard output; exact numbers as text.")]
Account = Annotated[str, typer.Option("--account", help="The account; the platform's own when not given.")]
AnyAccount = Annotated[str, typer.Option("--account", help="Only this account; all when not given.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=10_000, help="How many, newest first.")]
Everything = Annotated[bool, typer.Option("--all", "-a", help="Also what is over.")]
Reason = Annotated[str, typer.Option("--reason", "-r", help="Why; it is kept in the audit trail.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]

DEFAULT_OPERATOR = "trader"
PLATFORM_ACCOUNT = ""
