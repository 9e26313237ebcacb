"""What commands say when the truth is that it is not known: never that there is nothing, or that nothing is wrong."""

from __future__ import annotations

import time

import pytest

from kestrel.admin.v1 import kernel_pb2, status_pb2, venue_gateway_pb2
from kestrel.common.v1 import common_pb2
from kestrel.reconcile.v1 import reconcile_pb2
from kestrel_cli.commands import books, lifecycle, reconciliation, record
from kestrel_cli.platform.supervisor import PlatformState, ProcessState

KERNEL, GATEWAY = "partition.0.standing_by", "session.standing_by.paper.PAPER-1"


def run(verdict: reconcile_pb2.RunVerdict.ValueType, *reasons: str, account: str = "PAPER-1") -> reconcile_pb2.Run:
    return reconcile_pb2.Run(account=account, verdict=verdict, reasons=reasons, started_at_ns=time.time_ns())


def service(*, ready: bool = True, **figures: int) -> status_pb2.GetStatusResponse:
    return status_pb2.GetStatusResponse(service="kernel", ready=ready, figures=figures)


def platform(phase: str = "ready", overall: str = "ready") -> PlatformState:
    return PlatformState(overall, 1, 0.0, 1.0, (ProcessState("kernel", phase, "", 2, 3, 0, 1.0),))


def test_a_kernel_that_has_inputs_to_read_shows_no_whole_book() -> None:
    owned = kernel_pb2.PartitionState(partition=0, owned=True)
    behind = kernel_pb2.PartitionState(partition=1, owned=True, lag=7)
    elsewhere = kernel_pb2.PartitionState(partition=2, lag=9)
    assert books.not_whole([owned]) == []
    assert books.not_whole([owned, behind, elsewhere]) == [
        "this kernel does not own partition 2",
        "7 inputs are stored that it has not read yet",
    ]


def test_figures_of_a_partition_that_is_not_owned_are_not_shown_as_if_they_held() -> None:
    state = kernel_pb2.PartitionState(partition=2, epoch=4, journal_sequence=9, inbox_sequence=8)
    assert books._partition_row(state) == ("2", "[yellow]not owned[/]", "-", "-", "-", "-")


@pytest.mark.parametrize(
    ("runs", "said"),
    [
        ([], "not known"),
        ([run(reconcile_pb2.RUN_VERDICT_INDETERMINATE, "NO_BROKER_TRUTH")], "INDETERMINATE NO_BROKER_TRUTH"),
        ([run(reconcile_pb2.RUN_VERDICT_SUSPECTED)], "PAPER-1 was SUSPECTED"),
        (
            [run(reconcile_pb2.RUN_VERDICT_MATCHED), run(reconcile_pb2.RUN_VERDICT_SUSPECTED, account="PAPER-2")],
            "PAPER-2 was SUSPECTED",
        ),
    ],
)
def test_no_break_is_no_proof_that_the_books_agree(runs: list[reconcile_pb2.Run], said: str) -> None:
    assert said in reconciliation.no_break(runs)
    assert "agreed" not in reconciliation.no_break(runs)


def test_books_that_agreed_say_when() -> None:
    runs = [run(reconcile_pb2.RUN_VERDICT_MATCHED), run(reconcile_pb2.RUN_VERDICT_INDETERMINATE)]
    assert reconciliation.no_break(runs).startswith("No open break: the books agreed when they were compared, ")
    assert "ago" in reconciliation.no_break(runs)


def test_a_database_that_is_behind_says_so_before_it_answers() -> None:
    assert record.not_stored({"lag.ALERTS": 0, "lag.BEADS": 0, "consumer.lag.BEADS": 3}) == ""
    assert record.not_stored({"lag.ALERTS": 3, "lag.BEADS": 0}).endswith(": 3 of ALERTS")
    assert "not being filled yet" in record.not_stored({"database.failures": 2})


@pytest.mark.parametrize(
    ("figures", "shown"),
    [
        ({}, "-"),
        ({"flags.unreadable": 3}, "-"),
        ({"partition.0.lag": 0}, "0"),
        ({"lag.BEADS": 5, "consumer.lag.BEADS": 5, "consumer.lag.ALERTS": 2}, "[yellow]5[/]"),
    ],
)
def test_lag_is_what_readers_say_of_themselves_once_and_else_a_dash(figures: dict[str, int], shown: str) -> None:
    row = lifecycle._service_row("kernel", service(**figures), None)
    assert row[4] == shown
    assert ("flags.unreadable 3" in row[6]) == ("flags.unreadable" in figures)


def test_whoever_stands_by_is_ready_and_noted() -> None:
    row = lifecycle._service_row("kernel", service(**{KERNEL: 1}), None)
    assert row[0] == "[green]●[/]"
    assert "stands by" in row[-1]


def test_a_gateway_that_stands_by_is_not_one_that_lost_its_venue() -> None:
    session = venue_gateway_pb2.VenueSession(venue="paper", account="PAPER-1")
    assert "stands by" in lifecycle._venue_line(None, [session], [GATEWAY])
    assert "not connected" in lifecycle._venue_line(None, [session], ["session.standing_by.paper.PAPER-2"])


def test_entries_are_blocked_only_where_governance_itself_says_so() -> None:
    assert "blocked" in lifecycle.flags_problem(common_pb2.Refusal(reason="FLAGS_UNREADABLE"))
    for nothing in (None, common_pb2.Refusal(reason="STANDBY")):
        assert lifecycle.flags_problem(nothing) == "kill flags are not known: governance does not say"


def test_a_platform_that_was_ready_once_is_not_ready_while_a_part_of_it_is_not() -> None:
    assert lifecycle.overall(platform(), {"kernel": service()}) == "ready"
    assert lifecycle.overall(platform("restarting"), {"kernel": service()}) == "not ready"
    assert lifecycle.overall(platform(), {"kernel": service(ready=False)}) == "not ready"
    assert lifecycle.overall(platform(), {"kernel": None}) == "not ready"
    assert lifecycle.overall(platform(overall="stopping"), {"kernel": None}) == "stopping"
    assert lifecycle.overall(None, {}) == "unknown"
