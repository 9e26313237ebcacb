"""The trades that every contestant is fed, and the books they must end in. Pure; it imports nothing, for peers too.

One trade buys 100 in two fills and sells them in two, in one symbol, at a taker fee of five basis points. A trade is
two orders; an order's life is: submitted, accepted, half filled, filled.
"""

from __future__ import annotations

FILL_QTY, ORDER_QTY = 50, 100
PRICE_SCALE, AMOUNT_SCALE, PRICE_TO_AMOUNT = 4, 8, 10_000
ENTRY_PRICES = (1_900_000, 1_900_100)
EXIT_PRICES = (1_910_000, 1_910_100)
FEE_RATE, FEE_RATE_ONE = 50_000, 100_000_000

EVENTS_PER_TRADE = 8
"""What the venue says of two orders. We count the two requests as well: ten inputs."""


def amount(price_units: int) -> int:
    """What a fill at this price is worth, at the scale of amounts."""
    return FILL_QTY * price_units * PRICE_TO_AMOUNT


def fee(price_units: int) -> int:
    """What a fill at this price costs; all of them come out without a rest."""
    whole, rest = divmod(amount(price_units) * FEE_RATE, FEE_RATE_ONE)
    assert rest == 0, "no contestant may have to round"
    return whole


def decimal(units: int, scale: int) -> str:
    """``1900000`` at scale 4 as ``190.0000``."""
    whole, part = divmod(units, 10**scale)
    return f"{whole}.{part:0{scale}d}" if scale else str(whole)


REALIZED_PER_TRADE = sum(map(amount, EXIT_PRICES)) - sum(map(amount, ENTRY_PRICES))
FEES_PER_TRADE = sum(map(fee, ENTRY_PRICES + EXIT_PRICES))
