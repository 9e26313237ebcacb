"""Finding one thing by the beginning of its id."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from typing import TypeVar

from kestrel_cli.errors import CommandFailed

T = TypeVar("T")


def request_id() -> str:
    """A new id for one request; a service answers the same id again with its first answer."""
    return uuid.uuid4().hex


def by_beginning(items: Iterable[T], beginning: str, id_of: Callable[[T], str], *, what: str, listed_by: str) -> T:
    """The one item whose id begins so. Raises CommandFailed when there is none, or more than one."""
    beginning = beginning.rstrip("…")
    found = [item for item in items if id_of(item).startswith(beginning)]
    exact = [item for item in found if id_of(item) == beginning]
    if len(found) == 1 or exact:
        return (exact or found)[0]
    if not found:
        raise CommandFailed(f"no {what} begins with {beginning!r}", next_step=f"see what there is: {listed_by}")
    raise CommandFailed(
        f"{len(found)} {what}s begin with {beginning!r}",
        next_step="give more of the id: " + ", ".join(id_of(item) for item in found[:5]),
    )
