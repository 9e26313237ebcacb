"""Exact changes of scale between contracts and libkernel, each error naming its field."""

from __future__ import annotations

from typing import NamedTuple

from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import state_pb2
from kestrel_domain.errors import InvalidRequest
from kestrel_domain.numbers import SCALE_MAX, Number
from kestrel_libkernel import Config

AMOUNT_SCALE = 8
"""Decimals of every amount of money inside the kernel, in the account's currency."""

RATE_SCALE = 8
"""Decimals of a fee rate."""


def number(field: str, value: common_pb2.Decimal) -> Number:
    """A decimal from the wire; a scale out of range is an error that names the field."""
    try:
        return Number.of(value)
    except InvalidRequest as error:
        raise InvalidRequest.of(f"{field}.{error.field}", error.value, error.rule, reason=error.reason) from error


def units_at(field: str, value: common_pb2.Decimal, scale: int) -> int:
    """The same value as units at ``scale``, or an error when that would need rounding or more than 64 bits."""
    if value.scale == scale <= SCALE_MAX:
        return value.units
    exact = number(field, value)
    try:
        return exact.at(scale, field=field).units
    except InvalidRequest as error:
        raise InvalidRequest.of(field, exact, error.rule, reason=error.reason) from error


def amount(field: str, value: common_pb2.Decimal) -> int:
    """Money, as units at the amount scale."""
    return units_at(field, value, AMOUNT_SCALE)


def amount_rounded_up(field: str, value: common_pb2.Decimal) -> int:
    """Money that is paid, rounded against us where the venue states more decimals than we keep."""
    exact = number(field, value)
    if exact.scale <= AMOUNT_SCALE:
        return amount(field, value)
    return -(-exact.units // int(10 ** (exact.scale - AMOUNT_SCALE)))


class Units(NamedTuple):
    """A number as libkernel takes it."""

    units: int
    scale: int


def shortest(field: str, value: common_pb2.Decimal) -> Units:
    """The same value without trailing zeros: venues pad, and a scale says how fine a price really is."""
    units, scale = value.units, value.scale
    if not 0 <= scale <= SCALE_MAX:
        number(field, value)  # says what is wrong with it
    while scale and units % 10 == 0:
        units, scale = units // 10, scale - 1
    return Units(units, scale)


def decimal(units: int, scale: int) -> common_pb2.Decimal:
    return common_pb2.Decimal(units=units, scale=scale)


def money(units: int) -> common_pb2.Decimal:
    return common_pb2.Decimal(units=units, scale=AMOUNT_SCALE)


def kernel_config(configuration: state_pb2.AccountConfiguration) -> Config:
    """libkernel's form of an account's configuration."""
    return Config(
        account=configuration.account,
        currency=configuration.currency,
        slot_count=configuration.max_slots,
        leverage_max=configuration.leverage_cap,
        amount_scale=AMOUNT_SCALE,
        maker_fee_rate=units_at("maker_fee_rate", configuration.maker_fee_rate, RATE_SCALE),
        taker_fee_rate=units_at("taker_fee_rate", configuration.taker_fee_rate, RATE_SCALE),
        ack_timeout_ns=configuration.submitted_ttl_ns,
        funding_interval_ns=configuration.funding_interval_ns,
        seed_capital=amount("seed_wallet", configuration.seed_wallet),
        ledger_tolerance=amount("ledger_warning_tolerance", configuration.ledger_warning_tolerance),
        ledger_error_tolerance=amount("ledger_error_tolerance", configuration.ledger_error_tolerance),
        settlement_tolerance=amount("settlement_tolerance", configuration.settlement_tolerance),
    )
