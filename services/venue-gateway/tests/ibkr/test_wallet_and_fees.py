"""What the venue has taken and not told is not missing: our ledger, which books what it is told, would differ by it."""

from __future__ import annotations

from kestrel.common.v1 import common_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain.numbers import Number
from kestrel_domain.timestamps import SECOND_NS
from kestrel_venue_gateway.config import VenueGatewaySettings
from kestrel_venue_gateway.ibkr.core.balance import Wallet
from kestrel_venue_gateway.ibkr.core.heard import ExecutionSeen, PositionSeen
from kestrel_venue_gateway.ibkr.venue import IbkrVenue

NOW_NS = 3600 * SECOND_NS


def _bought_ten_at_100() -> Wallet:
    """Cash and position already contain the trade and its fee of 3.88; the fee itself is not told yet."""
    wallet = Wallet("DU1")
    wallet.begin([], [], now_ns=0)
    wallet.learn_value("TotalCashValue", "10000", "USD")
    assert wallet.balance(now_ns=NOW_NS) is not None
    ten, hundred = Number(10, 0), Number(100, 0)
    wallet.learn_execution(
        ExecutionSeen("a", 1, 1, 1, "ks1", "DU1", "AAPL", "STK", common_pb2.SIDE_BUY, ten, hundred, None, con_id=7),
        now_ns=NOW_NS,
    )
    wallet.learn_position(PositionSeen("DU1", 7, "AAPL", "USD", Number(1, 0), ten, Number.parse("100.388")))
    wallet.learn_value("TotalCashValue", "8996.12", "USD")
    return wallet


def test_a_wallet_that_contains_a_fee_is_told_once_the_fee_is_K14() -> None:
    wallet = _bought_ten_at_100()
    assert wallet.balance(now_ns=NOW_NS + SECOND_NS) is None
    wallet.learn_fee("a", Number.parse("3.88"))
    assert not wallet.is_told
    told = wallet.balance(now_ns=NOW_NS + SECOND_NS)
    assert told is not None
    assert Number.of(told.wallet) == Number.parse("9996.12")
    assert wallet.is_told


def test_a_wallet_from_before_the_last_fills_is_not_the_wallet_of_now_R04() -> None:
    venue = IbkrVenue(VenueGatewaySettings(venue="ibkr", accounts=["DU1"]), "DU1")
    assert venue._balance_of_now() is None
    venue._balance = venue_pb2.Balance(wallet=Number(10_000, 0).message(), currency="USD")
    venue._wallet = _bought_ten_at_100()
    told = venue._balance_of_now()
    assert told is not None
    assert (told.HasField("wallet"), told.currency) == (False, "USD")
    venue._wallet.learn_fee("a", Number.parse("3.88"))
    assert venue._wallet.balance(now_ns=NOW_NS) is not None
    assert venue._balance_of_now() == venue._balance


def test_what_a_fee_took_that_was_not_told_is_no_loss_until_it_is_missed_aloud_K14() -> None:
    wallet = _bought_ten_at_100()
    assert wallet.balance(now_ns=NOW_NS + 11 * SECOND_NS) is None
    assert not wallet.is_told
    assert wallet.balance(now_ns=NOW_NS + 601 * SECOND_NS) is None
    wallet.begin([], [], now_ns=NOW_NS + 602 * SECOND_NS)
    told = wallet.balance(now_ns=NOW_NS + 612 * SECOND_NS)
    assert told is not None
    assert Number.of(told.wallet) == Number.parse("9996.12")
