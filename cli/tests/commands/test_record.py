"""Bars and beads, as lines."""

from __future__ import annotations

from kestrel.audit.v1 import audit_pb2
from kestrel.authority.v1 import authority_pb2
from kestrel.common.v1 import common_pb2
from kestrel_cli.commands.record import bar, describe_bead


def test_a_hop_bar_grows_with_its_time_and_is_never_invisible() -> None:
    lengths = [bar(each, 10**10).count("▇") for each in (0, 1, 10**6, 10**8, 10**10)]
    assert lengths[:2] == [0, 1]
    assert lengths == sorted(lengths)
    assert bar(5, 5).count("▇") == 1


def test_each_kind_of_bead_has_a_line() -> None:
    for kind in audit_pb2.Bead.DESCRIPTOR.oneofs_by_name["body"].fields:
        bead = audit_pb2.Bead()
        getattr(bead, kind.name).SetInParent()
        assert isinstance(describe_bead(bead), str)


def test_a_refused_token_says_why_T04() -> None:
    bead = audit_pb2.Bead(
        token=authority_pb2.TokenEvent(
            token_id="t1",
            kind=authority_pb2.TOKEN_EVENT_KIND_REJECTED,
            reason=common_pb2.Refusal(message="used before"),
        )
    )
    assert "used before" in describe_bead(bead)
