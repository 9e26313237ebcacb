"""Pages and reasons: none without the other."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from kestrel_governance.core import reasons as governance

ROOT = Path(__file__).resolve().parents[2]


def _tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("runbooks", ROOT / "tools" / "runbooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up by its name
    spec.loader.exec_module(module)
    return module


runbooks = _tool()


def test_every_reason_has_a_page_and_every_page_a_reason_and_the_index_lists_them() -> None:
    assert runbooks.problems() == []


def test_every_risk_check_names_a_page_that_is_there_C18() -> None:
    for reason in governance.REASONS.values():
        assert (ROOT / reason.runbook).is_file(), reason.code


def test_the_reasons_of_registries_and_of_each_services_source_are_found() -> None:
    known = runbooks.known_reasons()
    for reason in (
        "KILL_ACTIVE",  # governance's table
        "ORDER_STALLED",  # libkernel's list
        "STREAM_DELETED",  # the chassis's advisories
        "DRIFT_POSITION_SIZE",  # the reconciler's kinds
        "POSITION_MISSING_AT_BROKER",  # the reconciler's findings
        "PARTITION_HALTED",  # Alert(reason=...)
        "MESSAGE_PARKED",  # alert(service, ...)
        "EXIT_REFUSED",  # _alert(command, ...)
        "TOKEN_BURNED",  # refusal(...)
        "COMMAND_MISMATCH",  # a default
        "STREAMS_DIFFER",  # a class
        "DATABASE_REFUSED",  # a constant
        "JETSTREAM_*",  # a family
    ):
        assert reason in known, reason


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('raise Refused("no", reason="A_REASON")', {"A_REASON"}),
        ('Alert(reason=NAME)\nNAME = "A_REASON"', {"A_REASON"}),
        ('self._alert(1, "A_REASON", "words")', {"A_REASON"}),
        ('def f(*, reason: str = "A_REASON"): ...', {"A_REASON"}),
        ('class E(Exception):\n    reason = "A_REASON"', {"A_REASON"}),
        ('Refused(f"no", reason=f"FAMILY_{code}")', {"FAMILY_*"}),
        ('log("A_REASON", reason=f"words {code}", other="NOT_ONE")', set()),
    ],
)
def test_a_reason_is_found_wherever_source_may_say_one(source: str, found: set[str]) -> None:
    assert runbooks.reasons_in(source) == found


def test_a_missing_page_is_begun_from_the_words_of_its_registry(tmp_path: Path) -> None:
    for reason in ("ACCOUNT_FROZEN", "ORDER_STALLED"):
        page = tmp_path / runbooks.page_name(reason)
        page.write_text(runbooks.begun_page(reason))
        assert runbooks._page(page).reason == reason
    assert runbooks.begun_page("PARTITION_HALTED") is None


def test_a_page_out_of_form_is_refused_by_name(tmp_path: Path) -> None:
    page = tmp_path / "a_reason.md"
    page.write_text("# ANOTHER\n\n**Urgency:** now\n\nWords.\n")
    with pytest.raises(ValueError, match=r"a_reason\.md: the first line"):
        runbooks._page(page)
    page.write_text("# A_REASON\n\n**Urgency:** maybe\n\nWords.\n")
    with pytest.raises(ValueError, match=r"a_reason\.md: a line must begin"):
        runbooks._page(page)
