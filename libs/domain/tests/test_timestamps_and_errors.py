"""Time as text, and errors as contract messages."""

from datetime import UTC, datetime

import pytest

from kestrel_domain import timestamps
from kestrel_domain.errors import InvalidRequest


def test_nanoseconds_survive_the_text_form_R12() -> None:
    moment = timestamps.from_datetime(datetime(2026, 5, 20, 20, 37, 54, 580370, tzinfo=UTC))
    assert timestamps.to_text(moment) == "2026-05-20T20:37:54.580370000Z"


def test_a_moment_without_a_zone_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="time zone"):
        timestamps.from_datetime(datetime(2026, 1, 1))  # noqa: DTZ001


def test_an_error_names_field_value_and_rule() -> None:
    refusal = InvalidRequest.of("order_qty", -5, "greater than 0").refusal()
    assert (refusal.field, refusal.value, refusal.rule) == ("order_qty", "-5", "greater than 0")
    assert refusal.message == "order_qty '-5': greater than 0"


def test_a_long_value_is_cut_in_the_refusal() -> None:
    assert len(InvalidRequest.of("body", "x" * 10_000, "short").refusal().value) == 256
