"""Contracts: what the published instruments look like at this broker, and which one a client means.

Every instrument is a stock (``STK``) on ``SMART``; its contract id follows from its symbol.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

from kestrel_domain.numbers import Number
from kestrel_simulators.matching import Instrument
from kestrel_simulators.tws import hours as wall
from kestrel_simulators.tws.hours import Hours
from kestrel_simulators.tws.replies import ContractDetails
from kestrel_simulators.tws.terms import Contract

SEC_TYPE = "STK"
EXCHANGE, PRIMARY_EXCHANGE = "SMART", "NASDAQ"
TRADING_CLASS = "NMS"
ORDER_TYPES = "LMT,MKT,STP,STPLMT,TRAIL"
_CON_IDS = 2**30


@dataclass(slots=True)
class Listing:
    """One instrument as a contract."""

    instrument: Instrument
    con_id: int
    hours: Hours = Hours.ALWAYS

    def contract(self, exchange: str = EXCHANGE) -> Contract:
        multiplier = self.instrument.multiplier
        return Contract(
            con_id=self.con_id,
            symbol=self.instrument.symbol,
            sec_type=SEC_TYPE,
            multiplier="" if multiplier == 1 else str(multiplier),
            exchange=exchange,
            primary_exchange=PRIMARY_EXCHANGE,
            currency=self.instrument.currency,
            local_symbol=self.instrument.symbol,
            trading_class=TRADING_CLASS,
        )

    def details(self, req_id: int, now_ns: int) -> ContractDetails:
        instrument = self.instrument
        lot = Number(instrument.lot_units, instrument.qty_scale)
        schedule = wall.schedule(self.hours, now_ns)
        return ContractDetails(
            req_id=req_id,
            contract=self.contract(),
            market_name=TRADING_CLASS,
            min_tick=Number(instrument.tick_units, instrument.price_scale),
            order_types=ORDER_TYPES,
            valid_exchanges=f"{EXCHANGE},{PRIMARY_EXCHANGE}",
            price_magnifier=1,
            under_con_id=0,
            long_name=f"{instrument.symbol} SIMULATED",
            contract_month="",
            industry="",
            category="",
            subcategory="",
            time_zone_id=wall.ZONE,
            trading_hours=schedule,
            liquid_hours=schedule,
            market_rule_ids=f"{self.con_id},{self.con_id}",
            stock_type="COMMON",
            min_size=lot,
            size_increment=lot,
            suggested_size_increment=lot,
        )

    def price(self, units: int) -> Number:
        return Number(units, self.instrument.price_scale)

    def qty(self, units: int) -> Number:
        return Number(units, self.instrument.qty_scale)

    def fits(self, contract: Contract) -> bool:
        """Whether a client that says this may mean this listing. Fields it left empty say nothing."""
        mine = self.contract()
        if contract.con_id and contract.con_id != self.con_id:
            return False
        if not contract.con_id and contract.symbol != mine.symbol and contract.local_symbol != mine.local_symbol:
            return False
        return (
            contract.symbol in ("", mine.symbol)
            and contract.sec_type in ("", SEC_TYPE)
            and contract.exchange in ("", EXCHANGE, PRIMARY_EXCHANGE)
            and contract.primary_exchange in ("", PRIMARY_EXCHANGE)
            and contract.currency in ("", mine.currency)
            and contract.local_symbol in ("", mine.local_symbol)
        )


@dataclass(slots=True)
class Listings:
    """All contracts of the broker, by symbol."""

    by_symbol: dict[str, Listing] = field(default_factory=dict)
    default_hours: Hours = Hours.ALWAYS

    def add(self, instrument: Instrument) -> Listing:
        """The listing of an instrument; a new one is listed, a known one stays as it is."""
        listing = self.by_symbol.get(instrument.symbol)
        if listing is None:
            listing = Listing(instrument, self._free_con_id(instrument.symbol), self.default_hours)
            self.by_symbol[instrument.symbol] = listing
        return listing

    def find(self, contract: Contract) -> Listing | None:
        """The one listing that a client means, or None."""
        listing = self.by_symbol.get(contract.symbol)
        if listing is not None:
            return listing if listing.fits(contract) else None
        return next((each for each in self.by_symbol.values() if each.fits(contract)), None)

    def matching(self, pattern: str) -> list[Listing]:
        return [each for symbol, each in self.by_symbol.items() if symbol.startswith(pattern.upper())]

    def by_con_id(self, con_id: int) -> Listing | None:
        return next((each for each in self.by_symbol.values() if each.con_id == con_id), None)

    def _free_con_id(self, symbol: str) -> int:
        con_id = 1 + int.from_bytes(hashlib.sha256(symbol.encode()).digest()[:4], "big") % _CON_IDS
        while self.by_con_id(con_id) is not None:
            con_id = con_id % _CON_IDS + 1
        return con_id
