"""The table of reasons: complete, and in the form that documentation is made from (C18)."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import kestrel_governance.core
from kestrel_domain.errors import InvariantBroken
from kestrel_governance.core import reasons


def test_every_reason_says_what_it_means_and_what_to_do_C18() -> None:
    for code, reason in reasons.REASONS.items():
        assert re.fullmatch(r"[A-Z][A-Z_]+", code)
        assert reason.meaning.endswith(".")
        assert reason.what_to_do.endswith(".")
        assert reason.runbook == f"docs/operations/{code.lower()}.md"


def test_every_reason_the_core_gives_is_in_the_table() -> None:
    folder = Path(str(kestrel_governance.core.__file__)).parent
    source = "\n".join(path.read_text() for path in folder.glob("*.py"))
    given = set(re.findall(r'(?:result|_at_most|_refusal|_alert)\(\s*(?:case, )?"([A-Z][A-Z_]+)"', source))
    given |= set(re.findall(r'reason="([A-Z][A-Z_]+)"', source))
    assert len(given) > 20
    assert given - set(reasons.REASONS) <= {"INVALID_RISK_CONFIGURATION", "REASON_UNKNOWN"}


def test_an_unknown_reason_is_a_defect_of_ours() -> None:
    with pytest.raises(InvariantBroken):
        reasons.runbook("NOT_A_REASON")


def test_the_table_is_printed_for_documentation() -> None:
    lines = reasons.markdown_table().splitlines()
    assert len(lines) == len(reasons.REASONS) + 2
    assert all(line.startswith("|") and line.count("|") == 4 for line in lines)
