"""Contracts and orders as the protocol names them: what requests carry in and replies carry out.

Names are the protocol's own in snake case. ``None`` is what was not set. Numbers are exact.
"""

from __future__ import annotations

from dataclasses import dataclass

from kestrel_domain.numbers import Number

ZERO = Number(0, 1)


@dataclass(frozen=True, slots=True)
class Contract:
    """The block of 12 fields that describes what is traded, always in this order."""

    con_id: int = 0
    symbol: str = ""
    sec_type: str = ""
    last_trade_date: str = ""
    strike: Number | None = ZERO
    right: str = ""
    multiplier: str = ""
    exchange: str = ""
    primary_exchange: str = ""
    currency: str = ""
    local_symbol: str = ""
    trading_class: str = ""


@dataclass(frozen=True, slots=True)
class ComboLeg:
    """One leg of a combination (``secType`` BAG); market data requests carry the first four fields only."""

    con_id: int = 0
    ratio: int = 0
    action: str = ""
    exchange: str = ""
    open_close: int = 0
    short_sale_slot: int = 0
    designated_location: str = ""
    exempt_code: int = -1


@dataclass(frozen=True, slots=True)
class TagValue:
    tag: str
    value: str


@dataclass(frozen=True, slots=True)
class DeltaNeutralContract:
    con_id: int = 0
    delta: Number | None = ZERO
    price: Number | None = ZERO


CONDITION_FIELD_COUNT = {1: 7, 3: 4, 4: 4, 5: 5, 6: 6, 7: 6}
"""Kind of condition (price, time, margin, execution, volume, percent change) to its number of fields."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition of an order, kept as it was written: its kind, ``a`` or ``o``, and what belongs to the kind."""

    fields: tuple[str, ...]

    @property
    def kind(self) -> int:
        return int(self.fields[0])


@dataclass(frozen=True, slots=True)
class Order:
    """Everything an order can say. The defaults are what both libraries send for an order that says nothing.

    Gateways write ``None`` and ``?`` where nothing was said, and clients send that back when they modify an order they
    have reloaded. Read here, such a placeholder is the empty text again.
    """

    action: str = ""
    total_quantity: Number | None = ZERO
    order_type: str = ""
    lmt_price: Number | None = None
    aux_price: Number | None = None
    tif: str = ""
    oca_group: str = ""
    account: str = ""
    open_close: str = "O"
    origin: int = 0
    order_ref: str = ""
    transmit: bool = True
    parent_id: int = 0
    block_order: bool = False
    sweep_to_fill: bool = False
    display_size: int | None = 0
    trigger_method: int = 0
    outside_rth: bool = False
    hidden: bool = False
    combo_legs: tuple[ComboLeg, ...] = ()
    order_combo_leg_prices: tuple[Number | None, ...] = ()
    smart_combo_routing_params: tuple[TagValue, ...] = ()
    discretionary_amt: Number | None = ZERO
    good_after_time: str = ""
    good_till_date: str = ""
    fa_group: str = ""
    fa_method: str = ""
    fa_percentage: str = ""
    fa_profile: str = ""
    model_code: str = ""
    short_sale_slot: int = 0
    designated_location: str = ""
    exempt_code: int = -1
    oca_type: int = 0
    rule80a: str = ""
    settling_firm: str = ""
    all_or_none: bool = False
    min_qty: int | None = None
    percent_offset: Number | None = None
    e_trade_only: bool = False
    firm_quote_only: bool = False
    nbbo_price_cap: Number | None = None
    auction_strategy: int = 0
    starting_price: Number | None = None
    stock_ref_price: Number | None = None
    delta: Number | None = None
    stock_range_lower: Number | None = None
    stock_range_upper: Number | None = None
    override_percentage_constraints: bool = False
    volatility: Number | None = None
    volatility_type: int | None = None
    delta_neutral_order_type: str = ""
    delta_neutral_aux_price: Number | None = None
    delta_neutral_con_id: int = 0
    delta_neutral_settling_firm: str = ""
    delta_neutral_clearing_account: str = ""
    delta_neutral_clearing_intent: str = ""
    delta_neutral_open_close: str = ""
    delta_neutral_short_sale: bool = False
    delta_neutral_short_sale_slot: int = 0
    delta_neutral_designated_location: str = ""
    continuous_update: bool = False
    reference_price_type: int | None = None
    trail_stop_price: Number | None = None
    trailing_percent: Number | None = None
    scale_init_level_size: int | None = None
    scale_subs_level_size: int | None = None
    scale_price_increment: Number | None = None
    scale_price_adjust_value: Number | None = None
    scale_price_adjust_interval: int | None = None
    scale_profit_offset: Number | None = None
    scale_auto_reset: bool = False
    scale_init_position: int | None = None
    scale_init_fill_qty: int | None = None
    scale_random_percent: bool = False
    scale_table: str = ""
    active_start_time: str = ""
    active_stop_time: str = ""
    hedge_type: str = ""
    hedge_param: str = ""
    opt_out_smart_routing: bool = False
    clearing_account: str = ""
    clearing_intent: str = ""
    not_held: bool = False
    delta_neutral_contract: DeltaNeutralContract | None = None
    algo_strategy: str = ""
    algo_params: tuple[TagValue, ...] = ()
    algo_id: str = ""
    what_if: bool = False
    order_misc_options: str = ""
    solicited: bool = False
    randomize_size: bool = False
    randomize_price: bool = False
    reference_contract_id: int = 0
    is_pegged_change_amount_decrease: bool = False
    pegged_change_amount: Number | None = ZERO
    reference_change_amount: Number | None = ZERO
    reference_exchange_id: str = ""
    conditions: tuple[Condition, ...] = ()
    conditions_ignore_rth: bool = False
    conditions_cancel_order: bool = False
    adjusted_order_type: str = ""
    trigger_price: Number | None = None
    lmt_price_offset: Number | None = None
    adjusted_stop_price: Number | None = None
    adjusted_stop_limit_price: Number | None = None
    adjusted_trailing_amount: Number | None = None
    adjustable_trailing_unit: int = 0
    ext_operator: str = ""
    soft_dollar_tier_name: str = ""
    soft_dollar_tier_value: str = ""
    soft_dollar_tier_display_name: str = ""
    cash_qty: Number | None = None
    mifid2_decision_maker: str = ""
    mifid2_decision_algo: str = ""
    mifid2_execution_trader: str = ""
    mifid2_execution_algo: str = ""
    dont_use_auto_price_for_hedge: bool = False
    is_oms_container: bool = False
    discretionary_up_to_limit_price: bool = False
    use_price_mgmt_algo: bool = False
    duration: int | None = None
    post_to_ats: int | None = None
    auto_cancel_parent: bool = False
    advanced_error_override: str = ""
    manual_order_time: str = ""
    min_trade_qty: int | None = None
    min_compete_size: int | None = None
    compete_against_best_offset: Number | None = None
    compete_up_to_mid: bool = False
    mid_offset_at_whole: Number | None = None
    mid_offset_at_half: Number | None = None


def names(text: str) -> tuple[str, ...]:
    """A row of field names, as messages list them."""
    return tuple(text.split())


PEG_BENCH = ("PEG BENCH", "PEGBENCH")
PEG_BEST = ("PEG BEST", "PEGBEST")
PEG_MID = ("PEG MID", "PEGMID")
"""Both spellings are in use."""
