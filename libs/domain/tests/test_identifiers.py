"""Identifiers follow from their causes."""

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kestrel_domain import identifiers
from kestrel_domain.errors import InvalidRequest


def test_the_same_cause_gives_the_same_id_and_another_cause_another() -> None:
    assert identifiers.token_id("intent-1", 1) == identifiers.token_id("intent-1", 1)
    assert identifiers.token_id("intent-1", 1) != identifiers.token_id("intent-1", 2)
    assert identifiers.derived_id("k", "ab", "c") != identifiers.derived_id("k", "a", "bc")
    assert identifiers.derived_id("k", "a") != identifiers.derived_id("l", "a")


def test_our_orders_are_known_by_their_prefix_X11() -> None:
    for order_id in (identifiers.entry_client_order_id("t"), identifiers.exit_client_order_id("trade", 7)):
        assert order_id.startswith(identifiers.CLIENT_ORDER_ID_PREFIX)
        assert len(order_id) == 28
        identifiers.checked_id("client_order_id", order_id)


@pytest.mark.parametrize("value", ["", "a.b", "a b", "a*", ">", "é", "x" * 65, "a\n"])
def test_an_id_that_could_break_a_subject_is_refused_with_its_field(value: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        identifiers.checked_id("account", value)
    assert caught.value.field == "account"


@pytest.mark.parametrize("value", ["", "aapl", "-X", "A.B", "A" * 33])
def test_a_symbol_is_upper_case_and_short(value: str) -> None:
    with pytest.raises(InvalidRequest):
        identifiers.checked_symbol("symbol", value)


@given(st.text(min_size=1, max_size=20), st.integers(1, 64))
def test_a_partition_is_stable_and_within_the_count(account: str, count: int) -> None:
    partition = identifiers.partition_of(account, count)
    assert 0 <= partition < count
    assert partition == identifiers.partition_of(account, count)


def test_partitions_never_move_between_releases() -> None:
    """These are stored in streams: a change here would send an account to another kernel."""
    assert [identifiers.partition_of(name, 16) for name in ("PAPER-1", "DU1234567", "VST-9")] == EXPECTED_PARTITIONS


EXPECTED_PARTITIONS = [4, 1, 3]


def test_a_derived_id_is_the_base_32_of_half_a_sha256() -> None:
    for number in range(200):
        digest = hashlib.sha256(b"kind" + len(str(number)).to_bytes(4, "big") + str(number).encode()).digest()
        assert identifiers.derived_id("kind", number) == base64.b32encode(digest[:16]).decode().rstrip("=").lower()
