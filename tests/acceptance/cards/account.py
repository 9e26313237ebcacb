"""A: connecting, and the account's truth."""

from __future__ import annotations

from kestrel.venue.v1 import venue_pb2
from kestrel_domain.errors import RemoteProtocolError, Unavailable
from kestrel_domain.numbers import Number
from tests.acceptance.card import card
from tests.acceptance.stand import Need, Stand


@card(
    "A01",
    "The account's truth is whole",
    given="a connection",
    when="the portfolio is asked for",
    then="positions, working orders and a balance come, each with its currency; none is missing",
)
async def portfolio_is_whole(stand: Stand) -> None:
    portfolio = await stand.portfolio(with_balance=True)
    assert portfolio.positions is not None
    assert portfolio.open_orders is not None
    assert portfolio.balance is not None
    assert portfolio.balance.currency
    assert Number.of(portfolio.balance.wallet) > Number.zero()


@card(
    "A02",
    "An account that is not ours is refused",
    given="settings that name an account the login does not have",
    when="the portfolio is asked for",
    then="an error, never the figures of another account",
    needs=(Need.PROCESS,),
)
async def wrong_account_is_refused(stand: Stand) -> None:
    venue = stand.connect_as("DU9999999")
    try:
        portfolio = await venue.portfolio()
    except (Unavailable, RemoteProtocolError):
        return
    finally:
        await venue.close()
    raise AssertionError(f"figures of an account that is not there: {portfolio}")


@card(
    "A03",
    "Bars carry the instrument",
    given="a symbol with prices",
    when="market data is followed",
    then="a bar with symbol, currency, price scale and tick comes; its close is the market's price",
    needs=(Need.PRICES,),
)
async def bars_carry_the_instrument(stand: Stand) -> None:
    await stand.behind.price(stand.symbol, "101.00")
    bar = await stand.bar_of(stand.symbol)
    assert bar.instrument.currency == "USD"
    assert bar.instrument.tick_units > 0
    assert Number.of(bar.close) == Number.parse("101.00")


@card(
    "A04",
    "A position moved by others is told as it is",
    given="a flat symbol",
    when="the venue's back office moves the position, and back",
    then="the truth shows it both times; no fill is heard",
    needs=(Need.PRICES,),
)
async def drift_is_told(stand: Stand) -> None:
    await stand.behind.drift(stand.symbol, 7)
    await stand.until_position(7)
    assert not stand.of_kind(venue_pb2.Fill)
    await stand.behind.drift(stand.symbol, -7)
    await stand.until_position(0)


@card(
    "A05",
    "Truth is asked for again and again",
    given="a connection",
    when="the portfolio is asked for five times in a row",
    then="each answer is whole",
)
async def truth_repeats(stand: Stand) -> None:
    for _ in range(5):
        await portfolio_is_whole(stand)
