"""Settings are checked before anything starts."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from kestrel.common.v1 import common_pb2
from kestrel_domain.identifiers import partition_of
from kestrel_kernel.config import AccountSettings, KernelSettings
from kestrel_kernel.core.scaling import kernel_config
from kestrel_kernel.shell.recovery import REPUBLISHED_ENTRIES


def account(**changes: Any) -> dict[str, Any]:
    return {"account": "PAPER-1", "venue": "paper", **changes}


def test_the_laptops_account_is_there_without_any_file() -> None:
    (configuration,) = KernelSettings().configurations(0)
    assert (configuration.account, configuration.venue, configuration.currency) == ("PAPER-1", "paper", "USD")
    assert configuration.environment == common_pb2.ENVIRONMENT_PAPER
    assert kernel_config(configuration).seed_capital == 1_000_000 * 10**8


def test_a_group_is_never_larger_than_what_a_recovery_looks_through_for_alerts_that_were_not_sent() -> None:
    assert KernelSettings(batch_size=REPUBLISHED_ENTRIES).batch_size == REPUBLISHED_ENTRIES
    with pytest.raises(ValidationError, match="batch_size"):
        KernelSettings(batch_size=REPUBLISHED_ENTRIES + 1)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"max_slots": 0}, "max_slots"),
        ({"max_slots": 257}, "max_slots"),
        ({"leverage_cap": 0}, "leverage_cap"),
        ({"taker_fee_rate": "0.5"}, "taker_fee_rate"),
        ({"taker_fee_rate": "0.000000001"}, "taker_fee_rate"),
        ({"seed_wallet": "-1"}, "seed_wallet"),
        ({"seed_wallet": "1e6"}, "seed_wallet"),
        ({"account": "no dots.please"}, "account"),
        ({"ledger_warning_tolerance": "5"}, "ledger_error_tolerance"),
        ({"slots": 3}, "slots"),
    ],
)
def test_a_figure_that_cannot_be_is_refused_by_name(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(ValidationError) as caught:
        AccountSettings.model_validate(account(**changes))
    assert named in str(caught.value)


def test_an_account_is_named_once() -> None:
    with pytest.raises(ValidationError):
        KernelSettings.model_validate({"accounts": [account(), account()]})


def test_accounts_are_spread_over_partitions_and_none_is_left_out() -> None:
    accounts = [account(account=f"A-{number}") for number in range(20)]
    settings = KernelSettings.model_validate({"accounts": accounts, "partitions": 3})
    spread = [[each.account for each in settings.configurations(partition)] for partition in range(3)]
    assert sorted(name for names in spread for name in names) == sorted(each["account"] for each in accounts)
    assert all(partition_of(name, 3) == partition for partition, names in enumerate(spread) for name in names)
