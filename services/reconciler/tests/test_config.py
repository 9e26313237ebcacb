"""Settings are checked at the start, and say what is wrong."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from kestrel_domain.numbers import Number
from kestrel_domain.timestamps import SECOND_NS
from kestrel_reconciler.config import ReconcilerSettings
from kestrel_reconciler.core.reconciliation import Rules


def test_the_settings_of_a_laptop_are_the_cores_own_rules() -> None:
    assert ReconcilerSettings().rules() == Rules()


def test_a_tolerance_is_read_exactly() -> None:
    rules = ReconcilerSettings(balance_tolerance="0.00000001", confirm_after_seconds=0.5).rules()
    assert rules.tolerances.balance == Number(1, 8)
    assert rules.confirm_after_ns == SECOND_NS // 2


@pytest.mark.parametrize("value", ["", "abc", "1e3", "0.1.2"])
def test_a_tolerance_that_is_no_number_is_refused_by_name(value: str) -> None:
    with pytest.raises(ValidationError, match="balance_tolerance"):
        ReconcilerSettings(balance_tolerance=value)


def test_a_drift_cannot_be_configured_to_stay_unseen_for_more_than_a_minute() -> None:
    with pytest.raises(ValidationError, match="confirm_at_last_seconds"):
        ReconcilerSettings(confirm_at_last_seconds=61)
