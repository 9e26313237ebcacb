"""What an account is worth, in the words of account values, summaries and profit-and-loss messages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kestrel_simulators.matching import AMOUNT_SCALE
from kestrel_simulators.matching.money import divided_up
from kestrel_simulators.tws.money import Holding, Ledger, amount

MARGIN_DIVISOR = 4
"""Stocks bind a quarter of their value, before and after the trade: buying power is four times the available funds."""
BASE = "BASE"


@dataclass(frozen=True, slots=True)
class Worth:
    """One account at one moment, at the last prices. Amount units."""

    cash: int
    market_value: int
    gross_value: int
    unrealized: int
    realized: int
    margin: int

    @classmethod
    def of(cls, ledger: Ledger, prices: Mapping[str, int]) -> Worth:
        value = gross = unrealized = margin = 0
        for symbol, holding in ledger.holdings.items():
            price = prices[symbol]
            value += holding.market_value_units(price)
            gross += abs(holding.market_value_units(price))
            unrealized += holding.unrealized_units(price)
            margin += margin_units(holding, holding.qty_units, price)
        return cls(ledger.cash_units, value, gross, unrealized, ledger.realized_units, margin)

    @property
    def equity(self) -> int:
        return self.cash + self.market_value

    @property
    def available(self) -> int:
        return self.equity - self.margin


def margin_units(holding: Holding, qty_units: int, price_units: int) -> int:
    """What a position of a quantity binds."""
    return divided_up(holding.instrument.notional_up(price_units, abs(qty_units)), MARGIN_DIVISOR)


# Everything that changes with a fill or a price; the rest of the keys are constant.
def values(ledger: Ledger, worth: Worth) -> list[tuple[str, str, str]]:
    """Key, value and currency of each account value."""
    currency = ledger.currency
    amounts = {
        "NetLiquidation": worth.equity,
        "TotalCashValue": worth.cash,
        "SettledCash": worth.cash,
        "AvailableFunds": worth.available,
        "ExcessLiquidity": worth.available,
        "BuyingPower": max(0, worth.available) * MARGIN_DIVISOR,
        "EquityWithLoanValue": worth.equity,
        "InitMarginReq": worth.margin,
        "MaintMarginReq": worth.margin,
        "FullInitMarginReq": worth.margin,
        "FullMaintMarginReq": worth.margin,
        "GrossPositionValue": worth.gross_value,
        "CashBalance": worth.cash,
        "UnrealizedPnL": worth.unrealized,
        "RealizedPnL": worth.realized,
    }
    said = [(key, str(amount(units)), currency) for key, units in amounts.items()]
    said += [(key, str(amount(amounts[key])), BASE) for key in ("CashBalance", "UnrealizedPnL", "RealizedPnL")]
    return said


def constants(ledger: Ledger) -> list[tuple[str, str, str]]:
    return [
        ("AccountCode", ledger.name, ""),
        ("AccountReady", "true", ""),
        ("AccountType", "INDIVIDUAL", ""),
        ("Currency", ledger.currency, ledger.currency),
        ("Currency", BASE, BASE),
        ("ExchangeRate", "1.00", ledger.currency),
        ("ExchangeRate", "1.00", BASE),
        ("DayTradesRemaining", "-1", ""),
        ("Leverage-S", "0.00", ""),
    ]


def summary(ledger: Ledger, worth: Worth, tags: tuple[str, ...]) -> list[tuple[str, str, str]]:
    """The tags of an account summary that this broker knows; ``$LEDGER`` tags bring the cash figures."""
    every = values(ledger, worth) + constants(ledger)
    every.append(("Cushion", _ratio(worth.available, worth.equity), ""))
    if any(tag.startswith("$LEDGER") for tag in tags):
        wanted = {"CashBalance", "UnrealizedPnL", "RealizedPnL", "ExchangeRate", "Currency"}
    else:
        wanted = set()
    # Of what exists per currency and as a total, a plain tag means the currency.
    plain = [entry for entry in every if entry[0] in tags and entry[2] != BASE]
    return plain + [entry for entry in every if entry[0] in wanted and entry[0] not in tags]


def _ratio(part: int, whole: int) -> str:
    return str(amount(part * 10**AMOUNT_SCALE // whole)) if whole > 0 else "0.00"
