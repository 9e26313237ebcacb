"""What clients send, as values: one frozen dataclass for each message, and ``parse``.

The fields of a message are read in the order of its dataclass, each by its annotation. The few messages whose
fields depend on each other (orders, market data, history) are read by hand, strictly in sequence: one optional
block shifts everything behind it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

from kestrel_simulators.tws.terms import (
    CONDITION_FIELD_COUNT,
    PEG_BENCH,
    PEG_BEST,
    PEG_MID,
    ComboLeg,
    Condition,
    Contract,
    DeltaNeutralContract,
    Order,
    TagValue,
    names,
)
from kestrel_simulators.tws.wire import (
    INFINITE,
    READERS,
    SERVER_VERSION,
    FieldReader,
    WireError,
    read_integer,
    read_optional_number,
    split,
)


@dataclass(frozen=True, slots=True)
class Request:
    """A message from a client."""

    MESSAGE_ID: ClassVar[int] = 0
    HAS_VERSION: ClassVar[bool] = True
    SINCE: ClassVar[dict[str, int]] = {}
    """Fields that only newer server versions carry."""

    @classmethod
    def read(cls, reader: FieldReader, server_version: int) -> Self:
        if cls.HAS_VERSION:
            reader.integer("version")
        return cls(**_read_fields(cls, reader, server_version))


@dataclass(frozen=True, slots=True)
class StartApi(Request):
    MESSAGE_ID: ClassVar[int] = 71
    client_id: int
    optional_capabilities: str = ""


@dataclass(frozen=True, slots=True)
class ReqIds(Request):
    MESSAGE_ID: ClassVar[int] = 8
    count: int


@dataclass(frozen=True, slots=True)
class ReqManagedAccounts(Request):
    MESSAGE_ID: ClassVar[int] = 17


@dataclass(frozen=True, slots=True)
class ReqAccountUpdates(Request):
    MESSAGE_ID: ClassVar[int] = 6
    subscribe: bool
    account: str


@dataclass(frozen=True, slots=True)
class ReqAccountUpdatesMulti(Request):
    MESSAGE_ID: ClassVar[int] = 76
    req_id: int
    account: str
    model_code: str
    ledger_and_nlv: bool


@dataclass(frozen=True, slots=True)
class CancelAccountUpdatesMulti(Request):
    MESSAGE_ID: ClassVar[int] = 77
    req_id: int


@dataclass(frozen=True, slots=True)
class ReqAccountSummary(Request):
    MESSAGE_ID: ClassVar[int] = 62
    req_id: int
    group: str
    tags: str

    @property
    def tag_names(self) -> tuple[str, ...]:
        return tuple(tag.strip() for tag in self.tags.split(",") if tag.strip())


@dataclass(frozen=True, slots=True)
class CancelAccountSummary(Request):
    MESSAGE_ID: ClassVar[int] = 63
    req_id: int


@dataclass(frozen=True, slots=True)
class ReqPositions(Request):
    MESSAGE_ID: ClassVar[int] = 61


@dataclass(frozen=True, slots=True)
class CancelPositions(Request):
    MESSAGE_ID: ClassVar[int] = 64


@dataclass(frozen=True, slots=True)
class ReqOpenOrders(Request):
    """The orders of this client id."""

    MESSAGE_ID: ClassVar[int] = 5


@dataclass(frozen=True, slots=True)
class ReqAllOpenOrders(Request):
    """The orders of every client id and those placed by hand; a copy, once."""

    MESSAGE_ID: ClassVar[int] = 16


@dataclass(frozen=True, slots=True)
class ReqAutoOpenOrders(Request):
    """Client id 0 only: see, and perhaps bind, orders placed by hand."""

    MESSAGE_ID: ClassVar[int] = 15
    auto_bind: bool


@dataclass(frozen=True, slots=True)
class ReqCompletedOrders(Request):
    MESSAGE_ID: ClassVar[int] = 99
    HAS_VERSION: ClassVar[bool] = False
    api_only: bool


@dataclass(frozen=True, slots=True)
class ReqExecutions(Request):
    """``client_id`` 0 and empty texts match everything; ``time`` is ``yyyymmdd-hh:mm:ss``, from then on."""

    MESSAGE_ID: ClassVar[int] = 7
    req_id: int
    client_id: int
    account: str
    time: str
    symbol: str
    sec_type: str
    exchange: str
    side: str


@dataclass(frozen=True, slots=True)
class CancelOrder(Request):
    MESSAGE_ID: ClassVar[int] = 4
    SINCE: ClassVar[dict[str, int]] = {"manual_cancel_order_time": 169}
    order_id: int
    manual_cancel_order_time: str = ""


@dataclass(frozen=True, slots=True)
class ReqGlobalCancel(Request):
    MESSAGE_ID: ClassVar[int] = 58


@dataclass(frozen=True, slots=True)
class ReqContractDetails(Request):
    MESSAGE_ID: ClassVar[int] = 9
    SINCE: ClassVar[dict[str, int]] = {"issuer_id": 176}
    req_id: int
    contract: Contract
    include_expired: bool
    sec_id_type: str
    sec_id: str
    issuer_id: str = ""


@dataclass(frozen=True, slots=True)
class CancelMktData(Request):
    MESSAGE_ID: ClassVar[int] = 2
    req_id: int


@dataclass(frozen=True, slots=True)
class ReqMarketDataType(Request):
    """1 live, 2 frozen, 3 delayed, 4 delayed and frozen."""

    MESSAGE_ID: ClassVar[int] = 59
    market_data_type: int


@dataclass(frozen=True, slots=True)
class ReqCurrentTime(Request):
    MESSAGE_ID: ClassVar[int] = 49


@dataclass(frozen=True, slots=True)
class ReqPnl(Request):
    MESSAGE_ID: ClassVar[int] = 92
    HAS_VERSION: ClassVar[bool] = False
    req_id: int
    account: str
    model_code: str


@dataclass(frozen=True, slots=True)
class CancelPnl(Request):
    MESSAGE_ID: ClassVar[int] = 93
    HAS_VERSION: ClassVar[bool] = False
    req_id: int


@dataclass(frozen=True, slots=True)
class ReqPnlSingle(Request):
    MESSAGE_ID: ClassVar[int] = 94
    HAS_VERSION: ClassVar[bool] = False
    req_id: int
    account: str
    model_code: str
    con_id: int


@dataclass(frozen=True, slots=True)
class CancelPnlSingle(Request):
    MESSAGE_ID: ClassVar[int] = 95
    HAS_VERSION: ClassVar[bool] = False
    req_id: int


@dataclass(frozen=True, slots=True)
class ReqMatchingSymbols(Request):
    MESSAGE_ID: ClassVar[int] = 81
    HAS_VERSION: ClassVar[bool] = False
    req_id: int
    pattern: str


@dataclass(frozen=True, slots=True)
class ReqMarketRule(Request):
    MESSAGE_ID: ClassVar[int] = 91
    HAS_VERSION: ClassVar[bool] = False
    market_rule_id: int


@dataclass(frozen=True, slots=True)
class CancelHistoricalData(Request):
    MESSAGE_ID: ClassVar[int] = 25
    req_id: int


@dataclass(frozen=True, slots=True)
class SetServerLogLevel(Request):
    MESSAGE_ID: ClassVar[int] = 14
    level: int


@dataclass(frozen=True, slots=True)
class ReqMktData(Request):
    """Ticks of one contract until canceled, or one snapshot."""

    MESSAGE_ID: ClassVar[int] = 1
    req_id: int
    contract: Contract
    combo_legs: tuple[ComboLeg, ...] = ()
    delta_neutral_contract: DeltaNeutralContract | None = None
    generic_ticks: str = ""
    snapshot: bool = False
    regulatory_snapshot: bool = False
    options: str = ""

    @classmethod
    def read(cls, reader: FieldReader, server_version: int) -> Self:
        reader.integer("version")
        req_id = reader.integer("req_id")
        contract = _read_contract(reader)
        return cls(
            req_id,
            contract,
            _read_short_legs(reader) if contract.sec_type == "BAG" else (),
            _read_delta_neutral(reader),
            reader.text("generic_ticks"),
            reader.flag("snapshot"),
            reader.flag("regulatory_snapshot"),
            reader.text("options"),
        )


@dataclass(frozen=True, slots=True)
class ReqHistoricalData(Request):
    """Bars of the past. ``use_rth`` 1: regular hours only; ``format_date`` 2: times as seconds."""

    MESSAGE_ID: ClassVar[int] = 20
    HAS_VERSION: ClassVar[bool] = False
    req_id: int
    contract: Contract
    include_expired: bool
    end_date_time: str
    bar_size: str
    duration: str
    use_rth: bool
    what_to_show: str
    format_date: int
    combo_legs: tuple[ComboLeg, ...] = ()
    keep_up_to_date: bool = False
    chart_options: str = ""

    @classmethod
    def read(cls, reader: FieldReader, server_version: int) -> Self:
        req_id = reader.integer("req_id")
        contract = _read_contract(reader)
        return cls(
            req_id,
            contract,
            reader.flag("include_expired"),
            reader.text("end_date_time"),
            reader.text("bar_size"),
            reader.text("duration"),
            reader.flag("use_rth"),
            reader.text("what_to_show"),
            reader.integer("format_date"),
            _read_short_legs(reader) if contract.sec_type == "BAG" else (),
            reader.flag("keep_up_to_date"),
            reader.text("chart_options"),
        )


@dataclass(frozen=True, slots=True)
class PlaceOrder(Request):
    """A new order, a change of a live one, or a question (``order.what_if``); the message is the same."""

    MESSAGE_ID: ClassVar[int] = 3
    HAS_VERSION: ClassVar[bool] = False
    order_id: int
    contract: Contract
    order: Order
    sec_id_type: str = ""
    sec_id: str = ""

    @classmethod
    def read(cls, reader: FieldReader, server_version: int) -> Self:
        order_id = reader.integer("order_id")
        contract = _read_contract(reader)
        sec_id_type, sec_id = reader.text("sec_id_type"), reader.text("sec_id")
        return cls(order_id, contract, _read_order(reader, contract, server_version), sec_id_type, sec_id)


@dataclass(frozen=True, slots=True)
class UnknownRequest(Request):
    """A message this server does not know. It is ignored, as gateways ignore it."""

    message_id: int
    fields: tuple[str, ...] = ()


def _known(kinds: Iterable[type[Request]]) -> dict[int, type[Request]]:
    return {kind.MESSAGE_ID: kind for kind in kinds if kind.MESSAGE_ID}


BY_MESSAGE_ID = _known(Request.__subclasses__())


def parse(payload: bytes, server_version: int = SERVER_VERSION) -> Request:
    """The request in a payload. Raises ``WireError``, and nothing else, for what cannot be read to its last field."""
    texts = split(payload)
    message_id = read_integer(texts[0], "message id")
    kind = BY_MESSAGE_ID.get(message_id)
    if kind is None:
        return UnknownRequest(message_id, tuple(texts[1:]))
    reader = FieldReader(texts)
    reader.text("message id")
    request = kind.read(reader, server_version)
    reader.finish()
    return request


def request_id_of(payload: bytes) -> int:
    """Which request or order an unreadable payload is about, as far as it can be told; -1 when it cannot."""
    try:
        texts = split(payload)
        kind = BY_MESSAGE_ID[read_integer(texts[0], "message id")]
        named = next((field.name for field in fields(kind)), "")
        return read_integer(texts[2 if kind.HAS_VERSION else 1], named) if named in ("req_id", "order_id") else -1
    except (WireError, KeyError, IndexError):
        return -1


# How the fields are read


def _read_fields(kind: type[Any], reader: FieldReader, server_version: int) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for field in fields(kind):
        if server_version < kind.SINCE.get(field.name, 0):
            continue
        if field.type == "Contract":
            values[field.name] = _read_contract(reader)
        else:
            values[field.name] = reader.read(field.name, str(field.type))
    return values


_CONTRACT_KINDS = [(field.name, str(field.type)) for field in fields(Contract)]


def _read_contract(reader: FieldReader) -> Contract:
    values = {name: reader.read(name, kind) for name, kind in _CONTRACT_KINDS}
    if values["right"] == "?":
        values["right"] = ""
    return Contract(**values)


def _read_short_legs(reader: FieldReader) -> tuple[ComboLeg, ...]:
    return tuple(
        ComboLeg(
            reader.integer("leg con_id"),
            reader.integer("ratio"),
            reader.text("leg action"),
            reader.text("leg exchange"),
        )
        for _ in range(reader.count("leg count"))
    )


def _read_delta_neutral(reader: FieldReader) -> DeltaNeutralContract | None:
    if not reader.flag("delta neutral flag"):
        return None
    return DeltaNeutralContract(
        reader.integer("delta neutral con_id"),
        read_optional_number(reader.text("delta"), "delta"),
        read_optional_number(reader.text("price"), "price"),
    )


def _read_tag_values(reader: FieldReader, field: str) -> tuple[TagValue, ...]:
    return tuple(TagValue(reader.text("tag"), reader.text("value")) for _ in range(reader.count(field)))


_ORDER_FIELDS = {field.name: field for field in fields(Order)}
_LEG_FIELDS = fields(ComboLeg)
_PLACEHOLDERS = {"delta_neutral_order_type": "None", "adjusted_order_type": "None"}

_MAIN = names(
    "action total_quantity order_type lmt_price aux_price tif oca_group account open_close origin order_ref transmit "
    "parent_id block_order sweep_to_fill display_size trigger_method outside_rth hidden"
)
_ALLOCATION = names(
    "discretionary_amt good_after_time good_till_date fa_group fa_method fa_percentage fa_profile model_code "
    "short_sale_slot designated_location exempt_code oca_type rule80a settling_firm all_or_none min_qty "
    "percent_offset e_trade_only firm_quote_only nbbo_price_cap auction_strategy starting_price stock_ref_price "
    "delta stock_range_lower stock_range_upper override_percentage_constraints volatility volatility_type "
    "delta_neutral_order_type delta_neutral_aux_price"
)
_DELTA_NEUTRAL = names(
    "delta_neutral_con_id delta_neutral_settling_firm delta_neutral_clearing_account delta_neutral_clearing_intent "
    "delta_neutral_open_close delta_neutral_short_sale delta_neutral_short_sale_slot "
    "delta_neutral_designated_location"
)
_SCALE = names(
    "continuous_update reference_price_type trail_stop_price trailing_percent scale_init_level_size "
    "scale_subs_level_size scale_price_increment"
)
_SCALE_STEPS = names(
    "scale_price_adjust_value scale_price_adjust_interval scale_profit_offset scale_auto_reset scale_init_position "
    "scale_init_fill_qty scale_random_percent"
)
_HEDGE = names("scale_table active_start_time active_stop_time hedge_type")
_CLEARING = names("opt_out_smart_routing clearing_account clearing_intent not_held")
_MANNERS = names("algo_id what_if order_misc_options solicited randomize_size randomize_price")
_PEGGED = names(
    "reference_contract_id is_pegged_change_amount_decrease pegged_change_amount reference_change_amount "
    "reference_exchange_id"
)
_ADJUSTED = names(
    "adjusted_order_type trigger_price lmt_price_offset adjusted_stop_price adjusted_stop_limit_price "
    "adjusted_trailing_amount adjustable_trailing_unit ext_operator soft_dollar_tier_name soft_dollar_tier_value "
    "cash_qty mifid2_decision_maker mifid2_decision_algo mifid2_execution_trader mifid2_execution_algo "
    "dont_use_auto_price_for_hedge is_oms_container discretionary_up_to_limit_price use_price_mgmt_algo"
)
_NEWER = (
    ("duration", 158),
    ("post_to_ats", 160),
    ("auto_cancel_parent", 162),
    ("advanced_error_override", 166),
    ("manual_order_time", 169),
)


class _OrderReader:
    """Reads blocks of an order in sequence and remembers what the later ones depend on."""

    def __init__(self, reader: FieldReader) -> None:
        self._reader = reader
        self.values: dict[str, Any] = {}

    def take(self, names: Iterable[str]) -> None:
        """An empty field says nothing: ``None`` where a field has it, its default otherwise."""
        for name in names:
            text, kind = self._reader.text(name), str(_ORDER_FIELDS[name].type)
            if text or kind == "str":
                self.values[name] = READERS[kind](text, name)
            elif kind.endswith("None"):
                self.values[name] = None

    def order(self) -> Order:
        for name, placeholder in _PLACEHOLDERS.items():
            if self.values[name] == placeholder:
                self.values[name] = ""
        return Order(**self.values)


def _read_order(reader: FieldReader, contract: Contract, server_version: int) -> Order:
    order = _OrderReader(reader)
    values = order.values
    order.take(_MAIN)
    if contract.sec_type == "BAG":
        values.update(_read_combination(reader))
    reader.text("deprecated")
    order.take(_ALLOCATION)
    if values["delta_neutral_order_type"]:
        order.take(_DELTA_NEUTRAL)
    order.take(_SCALE)
    if (increment := values["scale_price_increment"]) is not None and increment.units > 0:
        order.take(_SCALE_STEPS)
    order.take(_HEDGE)
    if values["hedge_type"]:
        order.take(["hedge_param"])
    order.take(_CLEARING)
    values["delta_neutral_contract"] = _read_delta_neutral(reader)
    order.take(["algo_strategy"])
    if values["algo_strategy"]:
        values["algo_params"] = _read_tag_values(reader, "algo param count")
    order.take(_MANNERS)
    if values["order_type"] in PEG_BENCH:
        order.take(_PEGGED)
    values["conditions"] = _read_conditions(reader)
    if values["conditions"]:
        order.take(["conditions_ignore_rth", "conditions_cancel_order"])
    order.take(_ADJUSTED)
    order.take(name for name, since in _NEWER if server_version >= since)
    if server_version >= 170:
        _read_pegged_tail(reader, order, contract)
    return order.order()


def _read_combination(reader: FieldReader) -> dict[str, Any]:
    legs = tuple(
        ComboLeg(*(reader.read(field.name, str(field.type)) for field in _LEG_FIELDS))
        for _ in range(reader.count("leg count"))
    )
    prices = tuple(
        read_optional_number(reader.text("leg price"), "leg price") for _ in range(reader.count("order leg count"))
    )
    params = _read_tag_values(reader, "smart param count")
    return {"combo_legs": legs, "order_combo_leg_prices": prices, "smart_combo_routing_params": params}


def _read_conditions(reader: FieldReader) -> tuple[Condition, ...]:
    return tuple(_read_condition(reader) for _ in range(reader.count("condition count")))


def _read_condition(reader: FieldReader) -> Condition:
    text = reader.text("condition type")
    kind = read_integer(text, "condition type")
    if kind not in CONDITION_FIELD_COUNT:
        raise WireError.of("condition type", text, f"one of {', '.join(map(str, CONDITION_FIELD_COUNT))}")
    return Condition((str(kind), *reader.take(CONDITION_FIELD_COUNT[kind] - 1, "condition")))


def _read_pegged_tail(reader: FieldReader, order: _OrderReader, contract: Contract) -> None:
    order_type = order.values["order_type"]
    if contract.exchange == "IBKRATS":
        order.take(["min_trade_qty"])
    if order_type in PEG_BEST:
        order.take(["min_compete_size"])
        text = reader.text("compete_against_best_offset")
        order.values["compete_up_to_mid"] = text == INFINITE
        if text == INFINITE:
            order.take(["mid_offset_at_whole", "mid_offset_at_half"])
        else:
            order.values["compete_against_best_offset"] = read_optional_number(text, "compete_against_best_offset")
    elif order_type in PEG_MID:
        order.take(["mid_offset_at_whole", "mid_offset_at_half"])
