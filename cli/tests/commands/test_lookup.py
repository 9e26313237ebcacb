"""Beginnings of ids."""

from __future__ import annotations

import pytest

from kestrel_cli.commands.lookup import by_beginning
from kestrel_cli.errors import CommandFailed


def _find(beginning: str) -> str:
    return by_beginning(["abc1", "abd2", "ab"], beginning, str, what="order", listed_by="kestrel orders")


def test_a_unique_beginning_is_enough_also_with_the_shown_ellipsis() -> None:
    assert _find("abc") == "abc1"
    assert _find("abd…") == "abd2"


def test_a_whole_id_wins_over_longer_ones() -> None:
    assert _find("ab") == "ab"


def test_an_ambiguous_beginning_names_the_candidates() -> None:
    with pytest.raises(CommandFailed) as caught:
        _find("a")
    assert "abc1" in caught.value.next_step


def test_an_unknown_beginning_says_where_to_look() -> None:
    with pytest.raises(CommandFailed) as caught:
        _find("zz")
    assert "kestrel orders" in caught.value.next_step
