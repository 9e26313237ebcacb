"""``python -m kestrel_venue_gateway.ibkr.check``: is this a TWS or IB Gateway that Kestrel can trade through?

Connects under a client id of its own and asks, one after the other, everything that a session will ask. Each line says
PASS, FAIL or SKIP, and why. A question that is not answered fails alone: the next one gets a new connection.

Reads only. With ``--trade``, and on a login that reaches nothing but paper accounts, it buys one share at the market
and sells it. The orders carry a reference that is not Kestrel's: a gateway that runs on the account takes them for
what they are, somebody else's.

Prints one JSON object a line; ``kestrel venue check ibkr`` shows them as a table.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import structlog

from kestrel.common.v1 import common_pb2
from kestrel_domain import live_gate
from kestrel_domain.errors import KestrelError, Unavailable
from kestrel_domain.live_gate import AccountKind
from kestrel_domain.numbers import Number
from kestrel_domain.timestamps import SECOND_NS
from kestrel_venue_gateway.ibkr.core import errors, heard
from kestrel_venue_gateway.ibkr.core.commands import OrderFields
from kestrel_venue_gateway.ibkr.core.contracts import Listing, Wanted
from kestrel_venue_gateway.ibkr.core.pacing import Urgency
from kestrel_venue_gateway.ibkr.library import LibraryName
from kestrel_venue_gateway.ibkr.session import Connection, Endpoint

CLIENT_ID = 79
SERVER_VERSION_MIN, SERVER_VERSION_USUAL = 157, 176
CLOCK_SKEW_NS_MAX = 5 * SECOND_NS
MESSAGES_PER_S_MAX = 40
ORDER_REFERENCE = "check"
_TIME_MESSAGE = b"49"
_PREFIX_BYTES = 4
_FRAME_BYTES_KEPT = 64
_WAIT_S = 10.0
_FILL_WAIT_S = 45.0
_FEE_WAIT_S = 15.0
_POLL_S = 0.05
_NOTICES_KEPT = 64
_TOLD_VALUES = ("NetLiquidation", "TotalCashValue", "AvailableFunds", "BuyingPower")


class Verdict(StrEnum):
    """How one question went."""

    PASS = "PASS"  # noqa: S105 - a word, not a password
    FAIL = "FAIL"
    SKIP = "SKIP"


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the checklist."""

    name: str
    verdict: Verdict
    said: str
    took_ms: int = 0


@dataclass(frozen=True, slots=True)
class Options:
    """What to check. An empty ``account``: the login's only one."""

    host: str = "127.0.0.1"
    port: int = 4002
    account: str = ""
    library: LibraryName = "ib_insync"
    symbol: str = "AAPL"
    client_id: int = CLIENT_ID
    timeout_s: float = 10.0
    trade: bool = False


_DEFAULTS = Options()


class Stop(Exception):
    """The checklist cannot go on: what is left is not asked."""


Answer = tuple[Verdict, str]


class ServerClock:
    """The broker's time, out of the bytes that arrive: the libraries' replies to "what time is it" pass by here."""

    def __init__(self) -> None:
        self.time_s: int | None = None
        self.heard_at_ns = 0
        self._prefix = b""
        self._left = 0
        self._body = b""

    def feed(self, data: bytes, now_ns: int) -> None:
        """Every byte, in order. Only the beginning of a frame is kept."""
        position = 0
        while position < len(data):
            if not self._left:
                step = min(_PREFIX_BYTES - len(self._prefix), len(data) - position)
                self._prefix += data[position : position + step]
                position += step
                if len(self._prefix) == _PREFIX_BYTES:
                    self._left, self._prefix, self._body = int.from_bytes(self._prefix, "big"), b"", b""
                continue
            step = min(self._left, len(data) - position)
            self._body = (self._body + data[position : position + step])[:_FRAME_BYTES_KEPT]
            self._left -= step
            position += step
            if not self._left:
                self._read(self._body.split(b"\0"), now_ns)

    def _read(self, fields: list[bytes], now_ns: int) -> None:
        if len(fields) > 2 and fields[0] == _TIME_MESSAGE and fields[2].isdigit():
            self.time_s, self.heard_at_ns = int(fields[2]), now_ns


class WatchedConnection(Connection):
    """A connection whose bytes a clock listens to."""

    def __init__(self, endpoint: Endpoint, audience: Heard, clock: ServerClock) -> None:
        self._clock = clock
        super().__init__(endpoint, audience)

    def on_bytes(self, data: bytes) -> None:
        self._clock.feed(data, time.time_ns())
        super().on_bytes(data)


@dataclass(slots=True)
class Heard:
    """Everything the connection told, as it came."""

    orders: list[heard.OrderSeen] = field(default_factory=list)
    statuses: list[heard.StatusSeen] = field(default_factory=list)
    completed: list[heard.CompletedSeen] = field(default_factory=list)
    executions: dict[str, heard.ExecutionSeen] = field(default_factory=dict)
    fees: dict[str, heard.CommissionSeen] = field(default_factory=dict)
    notices: deque[heard.ErrorSeen] = field(default_factory=lambda: deque(maxlen=_NOTICES_KEPT))
    positions: dict[tuple[str, int], heard.PositionSeen] = field(default_factory=dict)
    values: dict[tuple[str, str], str] = field(default_factory=dict)
    ticks: dict[int, list[tuple[int, Number]]] = field(default_factory=dict)

    def hear_order(self, message: heard.OrderMessage) -> None:
        match message:
            case heard.OrderSeen():
                self.orders.append(message)
            case heard.StatusSeen():
                self.statuses.append(message)
            case heard.CompletedSeen():
                self.completed.append(message)
            case heard.ExecutionSeen():
                self.executions[message.execution_id] = message
            case heard.CommissionSeen():
                self.fees[message.execution_id] = message
            case heard.ErrorSeen():
                self.notices.append(message)

    def hear_position(self, position: heard.PositionSeen) -> None:
        self.positions[position.account, position.con_id] = position

    def hear_account_value(self, value: heard.AccountValueSeen) -> None:
        if value.currency != "BASE":
            self.values[value.account, value.key] = f"{value.value} {value.currency}".strip()

    def hear_tick(self, request_id: int, tick_type: int, price: Number | None, size: Number | None) -> None:
        if price is not None and price.units > 0:
            self.ticks.setdefault(request_id, []).append((tick_type, price))

    def hear_restored(self) -> None:
        """Nothing here waits for it."""

    def about(self, request_id: int) -> heard.ErrorSeen | None:
        """The last word about a request or an order."""
        return next((notice for notice in reversed(self.notices) if notice.request_id == request_id), None)


class Examination:
    """The checklist, from the first line to the last."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self._heard = Heard()
        self._clock = ServerClock()
        self._connection: WatchedConnection | None = None
        self._attempts = 0
        self._accounts: list[str] = []
        self._account = options.account
        self._listing: Listing | None = None
        self._steps: tuple[tuple[str, Callable[[], Awaitable[Answer]]], ...] = (
            ("handshake", self._handshake),
            ("server version", self._server_version),
            ("managed accounts", self._managed_accounts),
            ("account, paper or live", self._paper_or_live),
            ("next valid id", self._next_valid_id),
            ("current time, clock skew", self._current_time),
            ("account values", self._account_values),
            ("positions", self._positions),
            ("open orders", self._open_orders),
            ("completed orders", self._completed_orders),
            ("executions", self._executions),
            (f"contract of {options.symbol}", self._contract),
            (f"market data of {options.symbol}", self._market_data),
            ("pacing", self._pacing),
            ("buy and sell one share", self._trade),
        )

    async def run(self) -> AsyncIterator[Line]:
        """The lines, each as soon as it is known. Nothing raises: what goes wrong is a line."""
        stopped = ""
        try:
            for name, step in self._steps:
                if stopped:
                    yield Line(name, Verdict.SKIP, stopped)
                    continue
                began = time.monotonic()
                try:
                    verdict, said = await step()
                except Stop as stop:
                    verdict, said, stopped = Verdict.FAIL, str(stop), "not asked: there is no connection"
                except (KestrelError, TimeoutError, OSError) as error:
                    verdict, said = Verdict.FAIL, str(error) or type(error).__name__
                yield Line(name, verdict, said, round((time.monotonic() - began) * 1000))
        finally:
            self._close()

    # --- the connection --------------------------------------------------------------------------------------------

    async def _handshake(self) -> Answer:
        try:
            await self._connected()
        except KestrelError as error:
            where = f"{self._options.host}:{self._options.port}"
            raise Stop(
                f"{error}. Is TWS or Gateway logged in, its API enabled, this host trusted, {where} its port?"
            ) from error
        return Verdict.PASS, f"{self._options.host}:{self._options.port}, through {self._options.library}"

    async def _server_version(self) -> Answer:
        version = (await self._connected()).link.server_version
        if version < SERVER_VERSION_MIN:
            return Verdict.FAIL, f"{version}: too old, at least {SERVER_VERSION_MIN}"
        usual = "" if version >= SERVER_VERSION_USUAL else f"; {SERVER_VERSION_USUAL} is what Kestrel is tested with"
        return Verdict.PASS, f"{version}{usual}"

    async def _managed_accounts(self) -> Answer:
        self._accounts = (await self._connected()).accounts
        if not self._accounts:
            return Verdict.FAIL, "the login reaches no account"
        kinds = live_gate.ibkr_accounts(self._accounts)
        said = ", ".join(f"{account} ({kind.value})" for account, kind in kinds)
        if len({kind for _, kind in kinds}) > 1:
            return Verdict.FAIL, f"{said}: a login that reaches paper and real money is not used"
        return Verdict.PASS, said

    async def _paper_or_live(self) -> Answer:
        if not self._account and len(self._accounts) == 1:
            self._account = self._accounts[0]
        if not self._account:
            return Verdict.FAIL, "say which: --account"
        refusal = live_gate.check(
            live_gate.GateQuestion(
                account=self._account,
                kind=live_gate.kind_of_ibkr_account(self._account),
                environment=common_pb2.ENVIRONMENT_PAPER,
                confirmation="",
                promotion=None,
                kill_flags=None,
                now_ns=time.time_ns(),
                logged_in_accounts=live_gate.ibkr_accounts(self._accounts),
            )
        )
        if refusal is not None:
            return Verdict.FAIL, f"{refusal.reason}: {refusal.message}; Kestrel would not trade here"
        return Verdict.PASS, f"{self._account} is PAPER: no real money moves"

    async def _next_valid_id(self) -> Answer:
        next_id = (await self._connected()).next_order_id()
        return (Verdict.PASS if next_id > 0 else Verdict.FAIL), str(next_id)

    async def _current_time(self) -> Answer:
        connection = await self._connected()
        if not await _within(lambda: self._clock.time_s is not None or not connection.is_open, self._wait_s):
            return Verdict.FAIL, "the gateway does not tell the time: it may be half dead; restart it"
        if self._clock.time_s is None:
            raise connection.ended.result()
        # It is told in whole seconds, so it may be up to a second behind and still be right.
        skew_ns = self._clock.heard_at_ns - self._clock.time_s * SECOND_NS - SECOND_NS // 2
        said = f"our clock is {abs(skew_ns) / SECOND_NS:.1f} s {'ahead' if skew_ns > 0 else 'behind'}, to the second"
        if abs(skew_ns) > CLOCK_SKEW_NS_MAX:
            return Verdict.FAIL, f"{said}: set this machine's clock; tokens live five minutes"
        return Verdict.PASS, said

    # --- the account -----------------------------------------------------------------------------------------------

    async def _account_values(self) -> Answer:
        if not self._account:
            return Verdict.SKIP, "no account"
        await (await self._connected()).ask_account(self._account)
        found = {key: value for (account, key), value in self._heard.values.items() if account == self._account}
        if found.get("AccountReady", "true").lower() == "false":
            return Verdict.FAIL, "AccountReady is false: the broker is in its reset; try again later"
        missing = [key for key in ("TotalCashValue", "AvailableFunds") if key not in found]
        if missing:
            return Verdict.FAIL, f"{len(found)} values, and no {' and no '.join(missing)}"
        told = ", ".join(f"{key} {found[key]}" for key in _TOLD_VALUES if key in found)
        return Verdict.PASS, f"{len(found)} values: {told}"

    async def _positions(self) -> Answer:
        await (await self._connected()).ask_positions()
        held = [each for each in self._heard.positions.values() if each.qty and each.account == self._account]
        return Verdict.PASS, ", ".join(f"{each.symbol} {each.qty}" for each in held[:8]) or "flat"

    async def _open_orders(self) -> Answer:
        before = len(self._heard.orders)
        await (await self._connected()).ask_open_orders()
        return Verdict.PASS, f"{len({each.perm_id for each in self._heard.orders[before:]})} at work, of all clients"

    async def _completed_orders(self) -> Answer:
        before = len(self._heard.completed)
        await (await self._connected()).ask_completed_orders()
        return Verdict.PASS, f"{len(self._heard.completed) - before} of late"

    async def _executions(self) -> Answer:
        await (await self._connected()).ask_executions(self._account)
        fees = sum(1 for each in self._heard.executions if each in self._heard.fees)
        return Verdict.PASS, f"{len(self._heard.executions)} since midnight, {fees} with their commission"

    # --- the market ------------------------------------------------------------------------------------------------

    async def _contract(self) -> Answer:
        self._listing = await (await self._connected()).list_contract(Wanted.parse(self._options.symbol))
        instrument = self._listing.instrument
        tick = Number(instrument.tick_units, instrument.price_scale)
        hours = {True: "open now", False: "closed now", None: "hours unknown"}[self._listing.is_open(time.time_ns())]
        contract = self._listing.contract
        return Verdict.PASS, f"conId {contract.con_id}, {contract.currency}, tick {tick.decimal().normalize()}, {hours}"

    async def _market_data(self) -> Answer:
        if self._listing is None:
            return Verdict.SKIP, "no contract"
        connection = await self._connected()
        async with connection.permit(Urgency.QUERY):
            request_id = connection.next_order_id()
            connection.link.request_ticks(request_id, self._listing.contract)
        await _within(lambda: bool(self._heard.ticks.get(request_id)) or not connection.is_open, self._wait_s)
        ticks, notice = self._heard.ticks.get(request_id, []), self._heard.about(request_id)
        if ticks:
            is_delayed = any(tick_type >= _FIRST_DELAYED_TICK for tick_type, _ in ticks)
            return Verdict.PASS, f"{ticks[-1][1]}{', delayed' if is_delayed else ''}"
        if notice is not None:
            return Verdict.FAIL, f"{notice.code} {notice.text[:160]}"
        if self._listing.is_open(time.time_ns()) is False:
            return Verdict.SKIP, "no price within the time, and the market is closed"
        return Verdict.FAIL, "no price and no reason: is a market data subscription shared with the paper user?"

    async def _pacing(self) -> Answer:
        complaints = sum(1 for notice in self._heard.notices if errors.link(notice.code) is errors.Link.PACING)
        limit = f"at most {MESSAGES_PER_S_MAX} messages a second, of the 50 that are allowed"
        return (Verdict.FAIL, f"{complaints} complaints") if complaints else (Verdict.PASS, f"{limit}; no complaint")

    # --- one share there and back ----------------------------------------------------------------------------------

    async def _trade(self) -> Answer:
        if not self._options.trade:
            return Verdict.SKIP, "reads only; --trade buys and sells one share on a paper account"
        kinds = {live_gate.kind_of_ibkr_account(each) for each in (self._account, *self._accounts)}
        if kinds != {AccountKind.PAPER}:
            return Verdict.FAIL, "refused: nothing is traded on a login that is not certainly paper"
        if self._listing is None:
            return Verdict.SKIP, "no contract"
        if self._listing.is_open(time.time_ns()) is False:
            return Verdict.SKIP, "the market is closed: an order would wait until it opens"
        bought = await self._order("BUY")
        sold = await self._order("SELL")
        prices = f"bought at {bought.price}, sold at {sold.price}"
        await _within(lambda: all(self._fee(each) is not None for each in (bought, sold)), _FEE_WAIT_S)
        fees = [self._fee(each) for each in (bought, sold)]
        if None in fees:
            return Verdict.FAIL, f"{prices}; a commission was not reported within {_FEE_WAIT_S:.0f} s"
        return Verdict.PASS, f"{prices}, commissions {' and '.join(str(fee) for fee in fees)}"

    async def _order(self, action: str) -> heard.ExecutionSeen:
        """One share at the market. Raises ``Unavailable`` with what to do when it is not certain how it went."""
        assert self._listing is not None
        connection = await self._connected()
        reference = f"{ORDER_REFERENCE}-{action.lower()}-{time.time_ns()}"
        fields = OrderFields(action, "MKT", "1", "", "", "DAY", self._account, reference)
        async with connection.permit(Urgency.ENTRY):
            order_id = connection.next_order_id()
            connection.link.place_order(order_id, self._listing.contract, fields)

        def execution() -> heard.ExecutionSeen | None:
            found = self._heard.executions.values()
            return next((each for each in found if each.order_ref == reference), None)

        def is_over() -> bool:
            return execution() is not None or self._is_refused(order_id) or not connection.is_open

        if not await _within(is_over, _FILL_WAIT_S):
            async with connection.permit(Urgency.CANCEL):
                connection.link.cancel_order(order_id)
            await _within(is_over, self._wait_s)  # an execution may be faster than the cancel
        filled = execution()
        if filled is None:
            raise Unavailable(self._why_not(action, order_id))
        return filled

    def _why_not(self, action: str, order_id: int) -> str:
        """What is known, and what a person has to look at: not hearing of an execution does not mean there is none."""
        notice = self._heard.about(order_id)
        why = f"{notice.code} {notice.text[:160]}" if notice is not None else f"no execution in {_FILL_WAIT_S:.0f} s"
        certain = self._is_refused(order_id)
        held = action == "SELL" or not certain
        return f"{action} of one share: {why}" + ("; a share may be held: look at TWS and close it" if held else "")

    def _is_refused(self, order_id: int) -> bool:
        return any(each.order_id == order_id and each.status in _OVER for each in self._heard.statuses)

    def _fee(self, execution: heard.ExecutionSeen) -> Number | None:
        report = self._heard.fees.get(execution.execution_id)
        return report.fee if report is not None else None

    # --- how -------------------------------------------------------------------------------------------------------

    @property
    def _wait_s(self) -> float:
        return min(_WAIT_S, self._options.timeout_s)

    async def _connected(self) -> WatchedConnection:
        """The connection; a new one, under another client id, when the last one ended with an unanswered question."""
        if self._connection is not None and self._connection.is_open:
            return self._connection
        self._close()
        endpoint = Endpoint(
            host=self._options.host,
            port=self._options.port,
            client_id=self._options.client_id + self._attempts,
            library=self._options.library,
            connect_timeout_s=self._options.timeout_s,
            request_timeout_s=self._options.timeout_s,
            heartbeat_s=1.0,
            messages_per_s_max=MESSAGES_PER_S_MAX,
        )
        self._attempts += 1
        connection = WatchedConnection(endpoint, self._heard, self._clock)
        await connection.open()
        connection.start(connection.keep_alive(), "keep_alive")
        self._connection = connection
        return connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


_FIRST_DELAYED_TICK = 66
_OVER = ("Inactive", "Cancelled", "ApiCancelled")


async def _within(holds: Callable[[], bool], wait_s: float) -> bool:
    deadline = time.monotonic() + wait_s
    while not holds():
        if time.monotonic() > deadline:
            return False
        await asyncio.sleep(_POLL_S)
    return True


async def print_lines(options: Options) -> bool:
    """Print the checklist; whether nothing failed."""
    good = True
    async for line in Examination(options).run():
        good = good and line.verdict is not Verdict.FAIL
        print(json.dumps(_shown(line)), flush=True)
    return good


def _shown(line: Line) -> dict[str, Any]:
    return {"name": line.name, "verdict": line.verdict.value, "said": line.said, "took_ms": line.took_ms}


def parse(arguments: Sequence[str] | None = None) -> Options:
    """The options of the command line."""
    parser = argparse.ArgumentParser(prog="python -m kestrel_venue_gateway.ibkr.check", description=__doc__)
    parser.add_argument("--host", default=_DEFAULTS.host)
    parser.add_argument("--port", type=int, default=_DEFAULTS.port)
    parser.add_argument("--account", default="", help="the login's only one, when not given")
    parser.add_argument("--library", choices=("ib_insync", "ib_async"), default=_DEFAULTS.library)
    parser.add_argument("--symbol", default=_DEFAULTS.symbol, help="SYMBOL, or SYMBOL:EXCHANGE:CURRENCY")
    parser.add_argument("--client-id", type=int, default=CLIENT_ID)
    parser.add_argument("--timeout-s", type=float, default=_DEFAULTS.timeout_s, help="of each question")
    parser.add_argument("--trade", action="store_true", help="buy and sell one share, on a paper account only")
    return Options(**vars(parser.parse_args(arguments)))


def main() -> int:
    """0: nothing failed; 1: something did."""
    # Standard output belongs to the lines.
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    return 0 if asyncio.run(print_lines(parse())) else 1


if __name__ == "__main__":
    raise SystemExit(main())
