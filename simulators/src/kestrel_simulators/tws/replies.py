"""What the simulated gateway says, as values: one frozen dataclass for each message, and ``encode``.

The fields of a message are written in the order of its dataclass. The libraries unpack many messages into an exact
number of names, and lose the whole message when there is one more or one less; so nothing here is left out when it is
absent: ``None`` becomes the text that real gateways send instead.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import ClassVar

from kestrel_domain.numbers import Number
from kestrel_simulators.tws.terms import PEG_BENCH, ZERO, Contract, Order, TagValue, names
from kestrel_simulators.tws.wire import SERVER_VERSION, UNSET_DOUBLE, join, text_of

_SHORT_CONTRACT = names(
    "con_id symbol sec_type last_trade_date strike right multiplier exchange currency local_symbol trading_class"
)
"""The eleven fields of most replies. The portfolio writes the primary exchange where others write the exchange."""


def _contract_texts(contract: Contract, *, no_right: str = "") -> list[str]:
    texts = [text_of(getattr(contract, name), "0.0") for name in _SHORT_CONTRACT]
    texts[_SHORT_CONTRACT.index("right")] = contract.right or no_right
    return texts


@dataclass(frozen=True, slots=True)
class Reply:
    """A message to a client."""

    MESSAGE_ID: ClassVar[int] = 0
    VERSION: ClassVar[int | None] = 1
    UNSET: ClassVar[dict[str, str]] = {}
    """What is written for ``None``, where that is not the empty text."""

    def texts(self, server_version: int) -> list[str]:
        """All fields after the number of the message."""
        texts = [] if self.VERSION is None else [str(self.VERSION)]
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, Contract):
                texts += _contract_texts(value)
            else:
                texts.append(text_of(value, self.UNSET.get(each.name, "")))
        return texts


def encode(reply: Reply, server_version: int = SERVER_VERSION) -> bytes:
    """The payload of a reply; ``wire.frame`` makes it travel."""
    return join([str(reply.MESSAGE_ID), *reply.texts(server_version)])


# The session


@dataclass(frozen=True, slots=True)
class NextValidId(Reply):
    MESSAGE_ID: ClassVar[int] = 9
    order_id: int


@dataclass(frozen=True, slots=True)
class ManagedAccounts(Reply):
    """Account ids, separated by commas."""

    MESSAGE_ID: ClassVar[int] = 15
    accounts: str


@dataclass(frozen=True, slots=True)
class CurrentTime(Reply):
    MESSAGE_ID: ClassVar[int] = 49
    unix_seconds: int


@dataclass(frozen=True, slots=True)
class Error(Reply):
    """An error, a warning or a notice; ``req_id`` is a request, an order, or -1 for neither."""

    MESSAGE_ID: ClassVar[int] = 4
    VERSION: ClassVar[int | None] = 2
    req_id: int
    code: int
    text: str
    advanced_order_reject_json: str = ""

    def texts(self, server_version: int) -> list[str]:
        texts = [str(self.VERSION), str(self.req_id), str(self.code), self.text]
        return [*texts, self.advanced_order_reject_json] if server_version >= 166 else texts


# The account


@dataclass(frozen=True, slots=True)
class AccountValue(Reply):
    MESSAGE_ID: ClassVar[int] = 6
    VERSION: ClassVar[int | None] = 2
    key: str
    value: str
    currency: str
    account: str


@dataclass(frozen=True, slots=True)
class PortfolioValue(Reply):
    """``average_cost`` is per unit, with commissions, times the multiplier."""

    MESSAGE_ID: ClassVar[int] = 7
    VERSION: ClassVar[int | None] = 8
    contract: Contract
    position: Number
    market_price: Number
    market_value: Number
    average_cost: Number
    unrealized_pnl: Number
    realized_pnl: Number
    account: str

    def texts(self, server_version: int) -> list[str]:
        contract = _contract_texts(self.contract)
        contract[_SHORT_CONTRACT.index("exchange")] = self.contract.primary_exchange
        amounts = [self.position, self.market_price, self.market_value, self.average_cost]
        profits = [self.unrealized_pnl, self.realized_pnl]
        return [str(self.VERSION), *contract, *map(str, amounts), *map(str, profits), self.account]


@dataclass(frozen=True, slots=True)
class AccountTime(Reply):
    """``HH:MM``."""

    MESSAGE_ID: ClassVar[int] = 8
    time: str


@dataclass(frozen=True, slots=True)
class AccountDownloadEnd(Reply):
    MESSAGE_ID: ClassVar[int] = 54
    account: str


@dataclass(frozen=True, slots=True)
class AccountUpdateMulti(Reply):
    MESSAGE_ID: ClassVar[int] = 73
    req_id: int
    account: str
    model_code: str
    key: str
    value: str
    currency: str


@dataclass(frozen=True, slots=True)
class AccountUpdateMultiEnd(Reply):
    MESSAGE_ID: ClassVar[int] = 74
    req_id: int


@dataclass(frozen=True, slots=True)
class AccountSummary(Reply):
    MESSAGE_ID: ClassVar[int] = 63
    req_id: int
    account: str
    tag: str
    value: str
    currency: str


@dataclass(frozen=True, slots=True)
class AccountSummaryEnd(Reply):
    MESSAGE_ID: ClassVar[int] = 64
    req_id: int


@dataclass(frozen=True, slots=True)
class Position(Reply):
    """Quantity 0 takes the position away."""

    MESSAGE_ID: ClassVar[int] = 61
    VERSION: ClassVar[int | None] = 3
    account: str
    contract: Contract
    position: Number
    average_cost: Number


@dataclass(frozen=True, slots=True)
class PositionEnd(Reply):
    MESSAGE_ID: ClassVar[int] = 62


@dataclass(frozen=True, slots=True)
class Pnl(Reply):
    MESSAGE_ID: ClassVar[int] = 94
    VERSION: ClassVar[int | None] = None
    UNSET: ClassVar[dict[str, str]] = dict.fromkeys(names("daily unrealized realized"), UNSET_DOUBLE)
    req_id: int
    daily: Number | None
    unrealized: Number | None
    realized: Number | None


@dataclass(frozen=True, slots=True)
class PnlSingle(Reply):
    MESSAGE_ID: ClassVar[int] = 95
    VERSION: ClassVar[int | None] = None
    UNSET: ClassVar[dict[str, str]] = dict.fromkeys(names("daily unrealized realized value"), UNSET_DOUBLE)
    req_id: int
    position: Number
    daily: Number | None
    unrealized: Number | None
    realized: Number | None
    value: Number | None


# Orders


@dataclass(frozen=True, slots=True)
class OrderState:
    """What the broker adds to an order: where it stands, and what it would cost or has cost."""

    status: str
    init_margin_before: Number | None = None
    maint_margin_before: Number | None = None
    equity_with_loan_before: Number | None = None
    init_margin_change: Number | None = None
    maint_margin_change: Number | None = None
    equity_with_loan_change: Number | None = None
    init_margin_after: Number | None = None
    maint_margin_after: Number | None = None
    equity_with_loan_after: Number | None = None
    commission: Number | None = None
    min_commission: Number | None = None
    max_commission: Number | None = None
    commission_currency: str = ""
    warning_text: str = ""


@dataclass(frozen=True, slots=True)
class OpenOrder(Reply):
    """An order as the broker has it. ``order_id`` 0 or negative: placed by hand or by nobody's client."""

    MESSAGE_ID: ClassVar[int] = 5
    VERSION: ClassVar[int | None] = None
    order_id: int
    contract: Contract
    order: Order
    state: OrderState
    client_id: int
    perm_id: int

    def texts(self, server_version: int) -> list[str]:
        return _open_order_texts(self, server_version)


@dataclass(frozen=True, slots=True)
class OpenOrderEnd(Reply):
    MESSAGE_ID: ClassVar[int] = 53


@dataclass(frozen=True, slots=True)
class OrderStatus(Reply):
    MESSAGE_ID: ClassVar[int] = 3
    VERSION: ClassVar[int | None] = None
    order_id: int
    status: str
    filled: Number
    remaining: Number
    avg_fill_price: Number
    perm_id: int
    parent_id: int
    last_fill_price: Number
    client_id: int
    why_held: str = ""
    mkt_cap_price: Number = ZERO


@dataclass(frozen=True, slots=True)
class ExecDetails(Reply):
    """An execution: live with ``req_id`` -1, or one of the answers to a request.

    ``time`` as ``20240102 10:00:00 US/Eastern``: an execution whose zone the client does not know is lost there.
    """

    MESSAGE_ID: ClassVar[int] = 11
    VERSION: ClassVar[int | None] = None
    req_id: int
    order_id: int
    contract: Contract
    exec_id: str
    time: str
    account: str
    exchange: str
    side: str
    shares: Number
    price: Number
    perm_id: int
    client_id: int
    liquidation: int
    cum_qty: Number
    avg_price: Number
    order_ref: str
    ev_rule: str = ""
    ev_multiplier: str = ""
    model_code: str = ""
    last_liquidity: int = 0


@dataclass(frozen=True, slots=True)
class ExecDetailsEnd(Reply):
    MESSAGE_ID: ClassVar[int] = 55
    req_id: int


@dataclass(frozen=True, slots=True)
class CommissionReport(Reply):
    """``realized_pnl`` is unset for what opens a position."""

    MESSAGE_ID: ClassVar[int] = 59
    UNSET: ClassVar[dict[str, str]] = {"realized_pnl": UNSET_DOUBLE, "yield_": UNSET_DOUBLE}
    exec_id: str
    commission: Number
    currency: str
    realized_pnl: Number | None = None
    yield_: Number | None = None
    yield_redemption_date: str = ""


@dataclass(frozen=True, slots=True)
class CompletedOrder(Reply):
    """An order that is done. It carries neither order id nor client id, and says what was filled in its own field."""

    MESSAGE_ID: ClassVar[int] = 101
    VERSION: ClassVar[int | None] = None
    contract: Contract
    order: Order
    status: str
    perm_id: int
    filled_quantity: Number
    completed_time: str
    completed_status: str
    parent_perm_id: int = 0

    def texts(self, server_version: int) -> list[str]:
        return _completed_order_texts(self, server_version)


@dataclass(frozen=True, slots=True)
class CompletedOrderEnd(Reply):
    MESSAGE_ID: ClassVar[int] = 102
    VERSION: ClassVar[int | None] = None


# Contracts


@dataclass(frozen=True, slots=True)
class ContractDetails(Reply):
    """``long_name`` is read with escapes by the libraries: plain ASCII, no backslash."""

    MESSAGE_ID: ClassVar[int] = 10
    VERSION: ClassVar[int | None] = None
    req_id: int
    contract: Contract
    market_name: str
    min_tick: Number
    order_types: str
    valid_exchanges: str
    price_magnifier: int
    under_con_id: int
    long_name: str
    contract_month: str
    industry: str
    category: str
    subcategory: str
    time_zone_id: str
    trading_hours: str
    liquid_hours: str
    ev_rule: str = ""
    ev_multiplier: str = ""
    sec_ids: tuple[TagValue, ...] = ()
    agg_group: int = 1
    under_symbol: str = ""
    under_sec_type: str = ""
    market_rule_ids: str = ""
    real_expiration_date: str = ""
    stock_type: str = ""
    min_size: Number | None = None
    size_increment: Number | None = None
    suggested_size_increment: Number | None = None

    def texts(self, server_version: int) -> list[str]:
        return _contract_details_texts(self, server_version)


@dataclass(frozen=True, slots=True)
class ContractDetailsEnd(Reply):
    MESSAGE_ID: ClassVar[int] = 52
    req_id: int


@dataclass(frozen=True, slots=True)
class SymbolSample:
    con_id: int
    symbol: str
    sec_type: str
    primary_exchange: str
    currency: str
    derivative_sec_types: tuple[str, ...] = ()
    description: str = ""
    issuer_id: str = ""


@dataclass(frozen=True, slots=True)
class SymbolSamples(Reply):
    MESSAGE_ID: ClassVar[int] = 79
    VERSION: ClassVar[int | None] = None
    req_id: int
    samples: tuple[SymbolSample, ...]

    def texts(self, server_version: int) -> list[str]:
        texts = [str(self.req_id), str(len(self.samples))]
        for sample in self.samples:
            texts += [str(sample.con_id), sample.symbol, sample.sec_type, sample.primary_exchange, sample.currency]
            texts += [str(len(sample.derivative_sec_types)), *sample.derivative_sec_types]
            if server_version >= 176:
                texts += [sample.description, sample.issuer_id]
        return texts


@dataclass(frozen=True, slots=True)
class MarketRule(Reply):
    """From each lower edge on, prices move in steps of its increment."""

    MESSAGE_ID: ClassVar[int] = 93
    VERSION: ClassVar[int | None] = None
    market_rule_id: int
    increments: tuple[tuple[Number, Number], ...]

    def texts(self, server_version: int) -> list[str]:
        steps = [str(number) for increment in self.increments for number in increment]
        return [str(self.market_rule_id), str(len(self.increments)), *steps]


# Market data


@dataclass(frozen=True, slots=True)
class TickPrice(Reply):
    """Tick types: 1 bid, 2 ask, 4 last, 6 high, 7 low, 9 close, 14 open; delayed ones are 66 to 76."""

    MESSAGE_ID: ClassVar[int] = 1
    VERSION: ClassVar[int | None] = 6
    req_id: int
    tick_type: int
    price: Number
    size: Number | None = None
    attribute_mask: int = 0


@dataclass(frozen=True, slots=True)
class TickSize(Reply):
    """Tick types: 0 bid, 3 ask, 5 last, 8 volume."""

    MESSAGE_ID: ClassVar[int] = 2
    VERSION: ClassVar[int | None] = 6
    req_id: int
    tick_type: int
    size: Number


@dataclass(frozen=True, slots=True)
class TickGeneric(Reply):
    """Tick type 49: halted."""

    MESSAGE_ID: ClassVar[int] = 45
    VERSION: ClassVar[int | None] = 6
    req_id: int
    tick_type: int
    value: Number


@dataclass(frozen=True, slots=True)
class TickString(Reply):
    """Tick type 45: the time of the last trade, in seconds."""

    MESSAGE_ID: ClassVar[int] = 46
    VERSION: ClassVar[int | None] = 6
    req_id: int
    tick_type: int
    text: str


@dataclass(frozen=True, slots=True)
class TickReqParams(Reply):
    MESSAGE_ID: ClassVar[int] = 81
    VERSION: ClassVar[int | None] = None
    req_id: int
    min_tick: Number
    bbo_exchange: str = ""
    snapshot_permissions: int = 0


@dataclass(frozen=True, slots=True)
class MarketDataType(Reply):
    MESSAGE_ID: ClassVar[int] = 58
    req_id: int
    market_data_type: int


@dataclass(frozen=True, slots=True)
class TickSnapshotEnd(Reply):
    MESSAGE_ID: ClassVar[int] = 57
    req_id: int


@dataclass(frozen=True, slots=True)
class HistoricalBar:
    date: str
    open: Number
    high: Number
    low: Number
    close: Number
    volume: Number
    average: Number
    bar_count: int = -1


@dataclass(frozen=True, slots=True)
class HistoricalData(Reply):
    """All bars of a request at once, which also ends it."""

    MESSAGE_ID: ClassVar[int] = 17
    VERSION: ClassVar[int | None] = None
    req_id: int
    start: str
    end: str
    bars: tuple[HistoricalBar, ...] = field(default=())

    def texts(self, server_version: int) -> list[str]:
        bars = [text_of(getattr(bar, each.name)) for bar in self.bars for each in fields(HistoricalBar)]
        return [str(self.req_id), self.start, self.end, str(len(self.bars)), *bars]


# How orders are written. Real gateways fill in what was never said; the texts below are theirs.


_IN_ORDERS = {
    "right": "?",
    "lmt_price": "0.0",
    "aux_price": "0.0",
    "volatility_type": "0",
    "reference_price_type": "0",
    "clearing_intent": "IB",
    "delta_neutral_order_type": "None",
    "delta_neutral_open_close": "?",
    "adjusted_order_type": "None",
}
_UNSET_DOUBLES = dict.fromkeys(
    names(
        "trigger_price lmt_price_offset adjusted_stop_price adjusted_stop_limit_price adjusted_trailing_amount "
        "init_margin_before maint_margin_before equity_with_loan_before init_margin_change maint_margin_change "
        "equity_with_loan_change init_margin_after maint_margin_after equity_with_loan_after"
    ),
    UNSET_DOUBLE,
)
_ABSENT = _IN_ORDERS | _UNSET_DOUBLES

_MAIN = names("action total_quantity order_type lmt_price aux_price tif oca_group account open_close origin order_ref")
_HOURS = names("outside_rth hidden discretionary_amt good_after_time")
_ALLOCATION = names("fa_group fa_method fa_percentage")
_SETTLING = names(
    "model_code good_till_date rule80a percent_offset settling_firm short_sale_slot designated_location exempt_code"
)
_REFERENCES = names("starting_price stock_ref_price delta stock_range_lower stock_range_upper display_size")
_VOLATILITY = names("volatility volatility_type delta_neutral_order_type delta_neutral_aux_price")
_TRAIL = names("continuous_update reference_price_type trail_stop_price trailing_percent")
_SCALE = names("scale_init_level_size scale_subs_level_size scale_price_increment")
_SCALE_STEPS = names(
    "scale_price_adjust_value scale_price_adjust_interval scale_profit_offset scale_auto_reset scale_init_position "
    "scale_init_fill_qty scale_random_percent"
)
_CLEARING = names("clearing_account clearing_intent not_held")
_PEGGED = names(
    "reference_contract_id is_pegged_change_amount_decrease pegged_change_amount reference_change_amount "
    "reference_exchange_id"
)


_INFINITY = "Infinity"
"""Clients write ``Infinite`` and read this."""


class _OrderWriter:
    """Writes blocks of an order in sequence, the mirror of how requests are read."""

    def __init__(self, contract: Contract, order: Order) -> None:
        self._order = order
        self.texts = _contract_texts(contract, no_right=_ABSENT["right"])
        if not contract.strike:
            self.texts[_SHORT_CONTRACT.index("strike")] = "0"

    def add(self, *texts: object) -> None:
        self.texts += [text_of(text) for text in texts]

    def put(self, names_: Iterable[str]) -> None:
        order = self._order
        self.texts += [_order_text(order, name) for name in names_]

    def allocation(self, server_version: int) -> None:
        self.put(_ALLOCATION)
        if server_version < 177:
            self.put(["fa_profile"])

    def combination(self) -> None:
        order = self._order
        self.add(_legs_description(order), len(order.combo_legs))
        for leg in order.combo_legs:
            self.add(*(getattr(leg, each.name) for each in fields(leg)))
        self.add(len(order.order_combo_leg_prices), *order.order_combo_leg_prices)
        self._tag_values(order.smart_combo_routing_params)

    def scale_and_hedge(self) -> None:
        self.put(_SCALE)
        increment = self._order.scale_price_increment
        if increment is not None and increment.units > 0:
            self.put(_SCALE_STEPS)
        self.put(["hedge_type"])
        if self._order.hedge_type:
            self.put(["hedge_param"])

    def delta_neutral_contract_and_algo(self) -> None:
        contract = self._order.delta_neutral_contract
        self.add(contract is not None)
        if contract is not None:
            self.add(contract.con_id, contract.delta, contract.price)
        self.put(["algo_strategy"])
        if self._order.algo_strategy:
            self._tag_values(self._order.algo_params)

    def pegged_and_conditions(self) -> None:
        order = self._order
        self.put(["randomize_size", "randomize_price"])
        if order.order_type in PEG_BENCH:
            self.put(_PEGGED)
        self.add(len(order.conditions))
        for condition in order.conditions:
            self.add(*condition.fields)
        if order.conditions:
            self.put(["conditions_ignore_rth", "conditions_cancel_order"])

    def pegged_tail(self) -> None:
        order = self._order
        self.put(["min_trade_qty", "min_compete_size"])
        self.add(_INFINITY if order.compete_up_to_mid else order.compete_against_best_offset)
        self.put(["mid_offset_at_whole", "mid_offset_at_half"])

    def _tag_values(self, pairs: tuple[TagValue, ...]) -> None:
        self.add(len(pairs))
        for pair in pairs:
            self.add(pair.tag, pair.value)


def _order_text(order: object, name: str) -> str:
    if name == "short_sale_slot" and not getattr(order, name):
        return ""
    return text_of(getattr(order, name)) or _ABSENT.get(name, "")


def _legs_description(order: Order) -> str:
    return ",".join(f"{leg.con_id}|{leg.ratio}" for leg in order.combo_legs)


def _open_order_texts(reply: OpenOrder, server_version: int) -> list[str]:
    order, state = reply.order, reply.state
    writer = _OrderWriter(reply.contract, order)
    writer.put(_MAIN)
    writer.add(reply.client_id, reply.perm_id)
    writer.put(_HOURS)
    writer.add("")  # deprecated
    writer.allocation(server_version)
    writer.put(_SETTLING)
    writer.put(["auction_strategy", *_REFERENCES])
    writer.put(names("block_order sweep_to_fill all_or_none min_qty oca_type e_trade_only firm_quote_only"))
    writer.put(names("nbbo_price_cap parent_id trigger_method"))
    writer.put(_VOLATILITY)
    writer.put(names("delta_neutral_con_id delta_neutral_settling_firm delta_neutral_clearing_account"))
    writer.put(names("delta_neutral_clearing_intent delta_neutral_open_close delta_neutral_short_sale"))
    writer.put(names("delta_neutral_short_sale_slot delta_neutral_designated_location"))
    writer.put(_TRAIL)
    writer.add("", "")  # basis points and their type
    writer.combination()
    writer.scale_and_hedge()
    writer.put(["opt_out_smart_routing", *_CLEARING])
    writer.delta_neutral_contract_and_algo()
    writer.put(["solicited", "what_if"])
    writer.add(*(_order_text(state, each.name) for each in fields(state)))
    writer.pegged_and_conditions()
    writer.put(["adjusted_order_type", "trigger_price"])
    writer.add(_number_text(order.trail_stop_price))
    writer.put(names("lmt_price_offset adjusted_stop_price adjusted_stop_limit_price adjusted_trailing_amount"))
    writer.put(names("adjustable_trailing_unit soft_dollar_tier_name soft_dollar_tier_value"))
    writer.put(names("soft_dollar_tier_display_name cash_qty dont_use_auto_price_for_hedge is_oms_container"))
    writer.put(["discretionary_up_to_limit_price", "use_price_mgmt_algo"])
    writer.put(
        name
        for name, since in (("duration", 159), ("post_to_ats", 160), ("auto_cancel_parent", 162))
        if server_version >= since
    )
    if server_version >= 170:
        writer.pegged_tail()
    return [str(reply.order_id), *writer.texts]


def _completed_order_texts(reply: CompletedOrder, server_version: int) -> list[str]:
    order = reply.order
    writer = _OrderWriter(reply.contract, order)
    writer.put(_MAIN)
    writer.add(reply.perm_id)
    writer.put(_HOURS)
    writer.allocation(server_version)
    writer.put(_SETTLING)
    writer.put([*_REFERENCES, "sweep_to_fill", "all_or_none", "min_qty", "oca_type", "trigger_method"])
    writer.put(_VOLATILITY)
    writer.put(names("delta_neutral_con_id delta_neutral_short_sale delta_neutral_short_sale_slot"))
    writer.put(["delta_neutral_designated_location", *_TRAIL])
    writer.combination()
    writer.scale_and_hedge()
    writer.put(_CLEARING)
    writer.delta_neutral_contract_and_algo()
    writer.put(["solicited"])
    writer.add(reply.status)
    writer.pegged_and_conditions()
    writer.add(_number_text(order.trail_stop_price))
    writer.put(["lmt_price_offset", "cash_qty", "dont_use_auto_price_for_hedge", "is_oms_container"])
    writer.add("", reply.filled_quantity)  # before it: when the order would cancel itself
    writer.add("", order.auto_cancel_parent, "", 0, 0, reply.parent_perm_id)  # no future, shareholder, routing
    writer.add(reply.completed_time, reply.completed_status)
    if server_version >= 170:
        writer.pegged_tail()
    return writer.texts


def _number_text(number: Number | None) -> str:
    """The second writing of a trailing stop's price, which is the one that counts."""
    return text_of(number, UNSET_DOUBLE)


def _contract_details_texts(reply: ContractDetails, server_version: int) -> list[str]:
    contract = reply.contract
    old_layout = server_version < 164
    texts: list[object] = ["8"] if old_layout else []
    texts += [reply.req_id, contract.symbol, contract.sec_type, contract.last_trade_date, contract.strike]
    texts += [contract.right, contract.exchange, contract.currency, contract.local_symbol, reply.market_name]
    texts += [contract.trading_class, contract.con_id, reply.min_tick]
    texts += ["100"] if old_layout else []
    texts += [contract.multiplier, reply.order_types, reply.valid_exchanges, reply.price_magnifier]
    texts += [reply.under_con_id, reply.long_name, contract.primary_exchange, reply.contract_month, reply.industry]
    texts += [reply.category, reply.subcategory, reply.time_zone_id, reply.trading_hours, reply.liquid_hours]
    texts += [reply.ev_rule, reply.ev_multiplier, len(reply.sec_ids)]
    for pair in reply.sec_ids:
        texts += [pair.tag, pair.value]
    texts += [reply.agg_group, reply.under_symbol, reply.under_sec_type, reply.market_rule_ids]
    texts += [reply.real_expiration_date, reply.stock_type]
    if server_version == 163:
        texts.append(reply.suggested_size_increment)
    if server_version >= 164:
        texts += [reply.min_size, reply.size_increment, reply.suggested_size_increment]
    return [text_of(text) for text in texts]
