"""The only place that imports a client library: ``ib_insync``, or ``ib_async``, its successor, by setting.

What is used of it is its client: connection, handshake, encoding of requests, decoding of replies. Its second half,
which keeps orders, fills and positions of its own, is left out (``tap``): it takes every unknown error code for the end
of an order, adds corrections up, tells replayed executions to nobody, and forgets nothing.

Both libraries ask the policy for "the" event loop, on import and later, and a loop made by a factory, as uvloop's is,
was never told to it. So it is told here, before the import and before each connection; ``nest_asyncio`` and whatever
blocks are never used.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import sys
from collections.abc import Callable
from typing import Any, Literal

from kestrel_venue_gateway.ibkr.core.commands import OrderFields
from kestrel_venue_gateway.ibkr.core.contracts import ContractSeen, Wanted
from kestrel_venue_gateway.ibkr.tap import Listener, Tap

LibraryName = Literal["ib_insync", "ib_async"]

_EXECUTION = 11
_EXECUTION_TIME_FIELD = 15
_READABLE_TIME = "0"
_THROTTLE_OFF = 0
_REDUCE_WITH_BLOCK = 2
"""Of a group, one order at a time is at the exchange, and what it fills is taken from the others. With 1, which cancels
them, a target that fills in part would leave the rest without its stop; with 3, two could fill at once."""


def load(name: LibraryName) -> Any:
    """The library's module. To be called while the loop runs that will carry its connections."""
    asyncio.set_event_loop(asyncio.get_running_loop())
    is_first = name not in sys.modules
    module = importlib.import_module(name)
    if is_first:
        # What it has to say about messages arrives through the tap, in our words and with consequences.
        logging.getLogger(name).setLevel(logging.CRITICAL)
    return module


class Link:
    """One connection to one gateway, by a new ``IB()``: opened once, closed once, never used again."""

    def __init__(self, name: LibraryName, listener: Listener, client_id: int) -> None:
        self._module = load(name)
        self._client_id = client_id
        self._listener = listener
        ib = self._module.IB()
        self._client = ib.client
        self._ib = ib  # events are held weakly: what listens has to be held by somebody
        self._client.MaxRequests = _THROTTLE_OFF  # its queue knows no urgency; ours does
        self._tap = Tap(ib.wrapper, listener)
        self._watch_decoder()
        self._on_data: Callable[[bytes], None] = listener.on_bytes
        self._client.conn.hasData += self._on_data
        self._on_end: Callable[..., None] = lambda *_: listener.on_broken("the connection ended")
        self._client.conn.disconnected += self._on_end

    async def open(self, host: str, port: int, timeout_s: float) -> None:
        """Handshake until the gateway is ready for requests. Raises ``OSError`` or ``TimeoutError``."""
        self._ib.wrapper.clientId = self._client_id
        try:
            await self._client.connectAsync(host, port, self._client_id, timeout_s)
        except ConnectionError as error:
            raise OSError(f"no connection to {host}:{port}: {error}") from error

    def close(self) -> None:
        """Let go, now. Nothing is heard from here on."""
        self._tap.detach()
        self._client.conn.hasData -= self._on_data
        self._client.conn.disconnected -= self._on_end
        transport = self._client.conn.transport
        with contextlib.suppress(OSError, RuntimeError):  # it was gone already
            self._client.disconnect()
        if transport is not None:
            transport.abort()

    @property
    def accounts(self) -> list[str]:
        return list(self._client.getAccounts())

    @property
    def server_version(self) -> int:
        return int(self._client.serverVersion())

    def next_id(self, above: int) -> int:
        """An id for an order or a request: above what the gateway issued, and above ``above``."""
        self._client.updateReqId(above + 1)
        return int(self._client.getReqId())

    # --- requests ----------------------------------------------------------------------------------------------
    # Each writes one message and returns. ``ConnectionError``: there is no connection, so nothing left.

    def request_open_orders(self) -> None:
        self._client.reqAllOpenOrders()

    def request_completed_orders(self) -> None:
        self._client.reqCompletedOrders(False)

    def request_executions(self, request_id: int, account: str) -> None:
        self._client.reqExecutions(request_id, self._module.ExecutionFilter(acctCode=account))

    def request_positions(self) -> None:
        self._client.reqPositions()

    def request_account(self, account: str) -> None:
        self._client.reqAccountUpdates(True, account)

    def request_time(self) -> None:
        self._client.reqCurrentTime()

    def request_contract(self, request_id: int, wanted: Wanted) -> None:
        contract = self._module.Contract(
            symbol=wanted.venue_symbol, secType="STK", exchange=wanted.exchange, currency=wanted.currency
        )
        self._client.reqContractDetails(request_id, contract)

    def request_ticks(self, request_id: int, contract: ContractSeen) -> None:
        self._client.reqMktData(request_id, self._contract(contract), "", False, False, [])

    def place_order(self, order_id: int, contract: ContractSeen, fields: OrderFields) -> None:
        order = self._module.Order(
            action=fields.action,
            totalQuantity=fields.total_quantity,
            orderType=fields.order_type,
            tif=fields.time_in_force,
            account=fields.account,
            orderRef=fields.order_ref,
            transmit=fields.is_last,
            parentId=fields.parent_id,
            ocaGroup=fields.group,
            ocaType=_REDUCE_WITH_BLOCK if fields.group else 0,
        )
        # The client writes a text as it is; an empty one is "not set".
        order.lmtPrice, order.auxPrice = fields.limit_price, fields.stop_price
        self._client.placeOrder(order_id, self._contract(contract), order)

    def cancel_order(self, order_id: int) -> None:
        self._client.cancelOrder(order_id)

    # --- how ---------------------------------------------------------------------------------------------------

    def _contract(self, contract: ContractSeen) -> Any:
        return self._module.Contract(
            conId=contract.con_id,
            symbol=contract.symbol,
            secType=contract.sec_type,
            exchange=contract.exchange or "SMART",
            primaryExchange=contract.primary_exchange,
            currency=contract.currency,
            localSymbol=contract.local_symbol,
            tradingClass=contract.trading_class,
        )

    def _watch_decoder(self) -> None:
        """A message that cannot be decoded is only logged by the library, and traffic goes on without it."""
        decoder = self._client.decoder
        decoder.logger = logging.Logger("kestrel.ibkr.decoder")  # of this connection alone
        decoder.logger.addHandler(_Alarm(self._listener))
        decode = decoder.handlers[_EXECUTION]

        def decode_execution(fields: list[str]) -> None:
            # A zone that nobody knows would cost the execution. The text is read by us, and the library gets another.
            if len(fields) > _EXECUTION_TIME_FIELD:
                self._tap.execution_time = fields[_EXECUTION_TIME_FIELD]
                fields = [*fields[:_EXECUTION_TIME_FIELD], _READABLE_TIME, *fields[_EXECUTION_TIME_FIELD + 1 :]]
            decode(fields)

        decoder.handlers[_EXECUTION] = decode_execution


class _Alarm(logging.Handler):
    """Passes on what the decoder could not read."""

    def __init__(self, listener: Listener) -> None:
        super().__init__(logging.ERROR)
        self._listener = listener

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        self._listener.on_unreadable(f"{record.getMessage()[:300]} ({error!r})"[:500])
