"""How much to trade."""

from hypothesis import given
from hypothesis import strategies as st

from kestrel.common.v1 import common_pb2
from kestrel_domain.numbers import Number
from kestrel_policy.core.parameters import Sizing
from kestrel_policy.core.sizing import size

STOCK = common_pb2.Instrument(symbol="AAPL", price_scale=4, tick_units=100, lot_units=1, multiplier=1)


def number(text: str) -> Number:
    return Number.parse(text)


def sized(
    sizing: Sizing, *, capital: str = "1000000", exposure: str = "0", price: str = "100", stop: str = "95"
) -> str:
    return size(
        sizing, STOCK, capital=number(capital), exposure=number(exposure), price=number(price), stop=number(stop)
    ).reason


def test_the_loss_at_the_stop_is_the_risk_per_trade() -> None:
    assert sized(Sizing(50, 100_000, 100_000)) == "1000 by the risk per trade"  # 5000 / 5
    assert sized(Sizing(50, 100_000, 100_000), stop="92.9") == "704 by the risk per trade"  # 5000 / 7.1 = 704.2


def test_caps_bind_when_they_are_lower() -> None:
    assert sized(Sizing(50, 500, 100_000)) == "500 by the position limit"
    assert sized(Sizing(50, 500, 1_000), exposure="99950.01") == "0 by the exposure limit"
    assert sized(Sizing(50, 500, 1_000), exposure="80000") == "200 by the exposure limit"
    assert sized(Sizing(50, 500, 1_000), exposure="200000") == "0 by the exposure limit"


def test_nothing_known_is_nothing_taken() -> None:
    assert sized(Sizing(), capital="0").startswith("no capital")
    assert sized(Sizing(), stop="100").startswith("no capital, or no distance")


@given(
    st.integers(1, 10**9), st.integers(0, 10**9), st.integers(1, 10**7), st.integers(1, 10**7), st.integers(1, 500),
    st.integers(1, 50),
)  # fmt: skip
def test_no_limit_is_ever_exceeded_and_lots_are_whole(
    capital: int, exposure: int, price: int, stop: int, lot: int, multiplier: int
) -> None:
    instrument = common_pb2.Instrument(price_scale=4, qty_scale=2, lot_units=lot, multiplier=multiplier)
    sizing = Sizing(50, 1500, 10_000)
    taken = size(
        sizing,
        instrument,
        capital=Number(capital, 2),
        exposure=Number(exposure, 2),
        price=Number(price, 4),
        stop=Number(stop, 4),
    ).qty
    assert taken.units >= 0
    assert taken.units % lot == 0
    if taken:
        value = Number(price, 4) * taken * multiplier
        assert value * 10_000 <= Number(capital, 2) * 1500
        assert value + Number(exposure, 2) <= Number(capital, 2)
        assert Number(abs(price - stop), 4) * taken * multiplier * 10_000 <= Number(capital, 2) * 50
