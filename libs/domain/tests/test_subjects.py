"""The table of streams and subjects, as code."""

import pytest

from kestrel.common.v1 import common_pb2
from kestrel_domain import subjects
from kestrel_domain.errors import InvalidRequest


def test_subjects_read_as_the_architecture_says() -> None:
    assert subjects.intent("PAPER-1") == "intent.PAPER-1"
    assert subjects.inbox(3, "PAPER-1", "entry") == "inbox.3.PAPER-1.entry"
    assert subjects.journal(3, "PAPER-1") == "journal.3.PAPER-1"
    assert subjects.truth("paper", "PAPER-1") == "truth.paper.PAPER-1"
    assert subjects.bead("drift", "") == "bead.drift._"
    assert subjects.alert(common_pb2.SEVERITY_CRITICAL, "kernel") == "alert.critical.kernel"
    assert subjects.market("paper", "AAPL") == "market.paper.AAPL"
    assert subjects.parked("persistence") == "parked.persistence"


def test_an_inbox_subject_comes_apart_again() -> None:
    assert subjects.inbox_parts(subjects.inbox(12, "A_1", "venue")) == (12, "A_1", "venue")


@pytest.mark.parametrize("subject", ["inbox.0.A", "inbox.x.A.entry", "journal.0.A.entry", "inbox.0.A.window", ""])
def test_a_subject_that_is_no_inbox_subject_is_refused(subject: str) -> None:
    with pytest.raises(InvalidRequest):
        subjects.inbox_parts(subject)


def test_an_unknown_door_is_refused_by_name() -> None:
    with pytest.raises(InvalidRequest, match="window"):
        subjects.inbox(0, "A", "window")


def test_a_wildcard_cannot_be_smuggled_into_a_subject() -> None:
    for account in ("*", ">", "a.b", ""):
        with pytest.raises(InvalidRequest):
            subjects.intent(account)
