"""Kill flags as values: raising never weakens, lowering takes two."""

from __future__ import annotations

from typing import Any

import pytest

from kestrel.authority.v1 import authority_pb2
from kestrel.kernel.v1 import inbox_pb2
from kestrel_domain.errors import InvalidRequest, Refused
from kestrel_governance.core import kill

Desk = Any
BLOCK, CANCEL, FLATTEN = (
    authority_pb2.KILL_LEVEL_BLOCK_ENTRIES,
    authority_pb2.KILL_LEVEL_CANCEL_WORKING,
    authority_pb2.KILL_LEVEL_FLATTEN,
)
SYMBOL, GLOBAL = authority_pb2.KILL_SCOPE_SYMBOL, authority_pb2.KILL_SCOPE_GLOBAL


def flag(desk: Desk, level: Any = BLOCK, *, scope: Any = SYMBOL, target: str = "AAPL", expires: int = 0) -> Any:
    return authority_pb2.KillFlag(
        scope=scope,
        target=target,
        level=level,
        reason="r",
        set_by=desk.ada,
        set_at_ns=desk.now_ns,
        expires_at_ns=expires,
    )


def flags(*raised: Any) -> authority_pb2.KillFlags:
    return authority_pb2.KillFlags(flags=raised)


@pytest.mark.parametrize(
    ("first", "second", "left"), [(BLOCK, FLATTEN, FLATTEN), (FLATTEN, BLOCK, FLATTEN), (CANCEL, CANCEL, CANCEL)]
)
def test_raising_again_keeps_the_harder_level(desk: Desk, first: Any, second: Any, left: Any) -> None:
    after = kill.raised(flags(flag(desk, first)), flag(desk, second), desk.now_ns)
    assert [one.level for one in after.flags] == [left]


def test_a_temporary_flag_never_shortens_a_lasting_one(desk: Desk) -> None:
    after = kill.raised(flags(flag(desk)), flag(desk, expires=desk.now_ns + 5), desk.now_ns)
    assert sorted(one.expires_at_ns for one in after.flags) == [0, desk.now_ns + 5]


def test_a_second_temporary_flag_extends_the_first_and_lapsed_ones_go(desk: Desk) -> None:
    before = flags(flag(desk, expires=desk.now_ns + 5), flag(desk, target="MSFT", expires=desk.now_ns - 1))
    after = kill.raised(before, flag(desk, expires=desk.now_ns + 9), desk.now_ns)
    assert [(one.target, one.expires_at_ns) for one in after.flags] == [("AAPL", desk.now_ns + 9)]
    assert len(before.flags) == 2


def test_raising_again_takes_back_a_proposal_to_lower(desk: Desk) -> None:
    proposed, _, _ = kill.rearmed(flags(flag(desk)), SYMBOL, "AAPL", desk.bob, desk.now_ns)
    after = kill.raised(proposed, flag(desk), desk.now_ns)
    assert not after.flags[0].HasField("rearm_proposed_by")


def test_two_different_people_lower_a_flag_and_the_bead_names_both(desk: Desk) -> None:
    raised = flags(flag(desk), flag(desk, scope=GLOBAL, target=""))
    proposed, completed, touched = kill.rearmed(raised, SYMBOL, "AAPL", desk.bob, desk.now_ns)
    assert (completed, [one.rearm_proposed_by.id for one in touched]) == (False, ["bob"])
    assert not raised.flags[0].HasField("rearm_proposed_by")
    with pytest.raises(Refused, match="second person") as caught:
        kill.rearmed(proposed, SYMBOL, "AAPL", desk.bob, desk.now_ns)
    assert caught.value.reason == "FOUR_EYES"
    lowered, completed, touched = kill.rearmed(proposed, SYMBOL, "AAPL", desk.ada, desk.now_ns)
    assert completed
    assert [(one.rearm_proposed_by.id, one.rearmed_by.id) for one in touched] == [("bob", "ada")]
    assert [one.scope for one in lowered.flags] == [GLOBAL]


def test_lowering_what_is_not_raised_is_refused(desk: Desk) -> None:
    with pytest.raises(Refused) as caught:
        kill.rearmed(flags(flag(desk)), SYMBOL, "MSFT", desk.ada, desk.now_ns)
    assert caught.value.reason == "FLAG_UNKNOWN"


@pytest.mark.parametrize(
    ("scope", "target", "level", "field"),
    [
        (0, "", BLOCK, "scope"),
        (77, "", BLOCK, "scope"),
        (GLOBAL, "", 0, "level"),
        (GLOBAL, "AAPL", BLOCK, "target"),
        (SYMBOL, "aapl", BLOCK, "target"),
        (authority_pb2.KILL_SCOPE_ACCOUNT, "", BLOCK, "target"),
    ],
)
def test_a_flag_that_names_nothing_is_refused(desk: Desk, scope: Any, target: str, level: Any, field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        kill.checked(flag(desk, level, scope=scope, target=target))
    assert caught.value.field == field


def test_unparsable_flags_are_none_and_what_replaces_them_kills_everything(desk: Desk) -> None:
    assert kill.parse(b"\xff\xff\xff") is None
    assert kill.parse(None) == authority_pb2.KillFlags()
    stand_in = kill.unreadable(desk.now_ns)
    assert kill.covering(stand_in, desk.intent(), desk.now_ns)


@pytest.mark.parametrize(("level", "count"), [(BLOCK, 0), (CANCEL, 1), (FLATTEN, 2)])
def test_each_level_includes_those_before_it(desk: Desk, level: Any, count: int) -> None:
    accounts = dict(desk.limits.accounts)
    assert len(list(kill.controls(flag(desk, level), accounts))) == count
    elsewhere = flag(desk, level, scope=authority_pb2.KILL_SCOPE_VENUE, target="other")
    assert list(kill.controls(elsewhere, accounts)) == []


def test_what_follows_from_a_flag_is_bead_then_alert_then_cancel_then_flatten(desk: Desk, look: Any) -> None:
    strategy = authority_pb2.KILL_SCOPE_STRATEGY
    effects = kill.consequences(desk.flag(strategy, "momentum", FLATTEN), desk.limits.accounts, 1)
    assert [effect.subject for effect in effects] == [
        "bead.kill._",
        "alert.critical.governance",
        "inbox.0.PAPER-1.control",
        "inbox.0.PAPER-1.control",
    ]
    asked = [inbox_pb2.InboxMessage.FromString(one.body).control for one in look.published(effects, "inbox.")]
    assert [control.action for control in asked] == [
        inbox_pb2.CONTROL_ACTION_CANCEL_WORKING_ENTRIES,
        inbox_pb2.CONTROL_ACTION_FLATTEN,
    ]
    assert {(control.strategy, control.symbol) for control in asked} == {("momentum", "")}
    again = kill.consequences(desk.flag(strategy, "momentum", FLATTEN), desk.limits.accounts, 1)
    assert [effect.message_id for effect in again] == [effect.message_id for effect in effects]
