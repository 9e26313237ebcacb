"""No bytes at the door can do worse than be denied or parked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kestrel.authority.v1 import authority_pb2
from kestrel.common.v1 import common_pb2
from kestrel_domain.errors import InvalidRequest

INT64 = st.integers(-(2**63), 2**63 - 1)
INT32 = st.integers(-(2**31), 2**31 - 1)
SMALL = st.integers(-3, 30)
DECIMALS = st.builds(common_pb2.Decimal, units=INT64 | SMALL, scale=INT32 | SMALL)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "account": st.sampled_from(["PAPER-1", "NOPE"]),
    "venue": st.text(max_size=5),
    "environment": SMALL,
    "instrument__symbol": st.text(max_size=8),
    "instrument__price_scale": INT32 | SMALL,
    "instrument__qty_scale": INT32 | SMALL,
    "instrument__tick_units": INT64 | SMALL,
    "instrument__lot_units": INT64 | SMALL,
    "instrument__multiplier": INT64 | SMALL,
    "side": SMALL,
    "order_qty": DECIMALS,
    "order_type": SMALL,
    "price": DECIMALS | st.none(),
    "time_in_force": SMALL,
    "stop_price": DECIMALS | st.none(),
    "target_price": DECIMALS,
    "reference_price": DECIMALS | st.none(),
    "leverage": st.integers(0, 2**32 - 1),
    "strategy": st.text(max_size=70),
    "attempt": st.integers(0, 3),
    "proposer__kind": st.text(max_size=3),
    "anchor__as_of_ns": INT64,
    "created_at_ns": INT64,
    "expires_at_ns": INT64,
}


def offered(desk: Any, authority: Any, intent: Any) -> tuple[list[Any], str]:
    """``(effects, "")``, or nothing and the field it was refused for."""
    try:
        return desk.offer(authority, intent), ""
    except InvalidRequest as error:
        return [], error.field


@settings(max_examples=150, deadline=None)
@given(changes=st.fixed_dictionaries({}, optional=FIELDS))
def test_any_field_values_are_decided_or_refused_by_name(
    make_desk: Callable[[], Any], look: Any, changes: dict[str, Any]
) -> None:
    desk = make_desk()
    authority = desk.authority()
    authority.grant_mandate(desk.mandate(symbols=[]), actor=desk.bob, request_id="g", now_ns=desk.now_ns)
    intent = desk.intent(**changes)
    effects, refused_field = offered(desk, authority, intent)
    assert effects or refused_field
    if refused_field:
        return
    [bead] = look.beads(effects, "decision")
    if bead.decision.verdict == authority_pb2.VERDICT_DENIED:
        assert bead.decision.checks
        assert not look.published(effects, "inbox.")


@settings(max_examples=150, deadline=None)
@given(stored=st.binary(max_size=200), at=st.integers(0, 400), flip=st.integers(1, 255))
def test_any_bytes_are_decided_or_refused_by_name(
    make_desk: Callable[[], Any], stored: bytes, at: int, flip: int
) -> None:
    desk = make_desk()
    authority = desk.authority()
    sound = bytearray(desk.intent().SerializeToString())
    sound[at % len(sound)] ^= flip
    for body in (stored, bytes(sound)):
        effects, refused_field = offered(desk, authority, body)
        assert effects or refused_field
