"""What the numbers of deliveries prove, on deliveries made by hand."""

from __future__ import annotations

from typing import Any

import pytest

from kestrel_chassis.messages import DeliveryGap, StoredMessage, delivered
from kestrel_chassis.order import DeliveryOrder


def info(consumer_sequence: int = 0, sequence: int = 0, unacknowledged: int = 0, begins_at: int = 1) -> dict[str, Any]:
    return {
        "config": {"opt_start_seq": begins_at} if begins_at > 1 else {},
        "delivered": {"consumer_seq": consumer_sequence, "stream_seq": sequence},
        "num_ack_pending": unacknowledged,
    }


def delivery(consumer_sequence: int, sequence: int, count: int = 1) -> StoredMessage:
    return delivered("inbox.0.A.venue", f"$JS.ACK.INBOX.c.{count}.{sequence}.{consumer_sequence}.1.0", b"", None)


def order_after(*deliveries: StoredMessage) -> DeliveryOrder:
    order = DeliveryOrder("INBOX", "c", info(), 1)
    for each in deliveries:
        order.learn(each)
    return order


def test_every_delivery_is_in_order_although_a_filter_leaves_out_stream_sequences() -> None:
    order_after(delivery(1, 3), delivery(2, 7), delivery(3, 8))


@pytest.mark.parametrize(
    "wrong",
    [
        delivery(4, 9),  # one was lost
        delivery(3, 9, count=2),  # sent again
        delivery(1, 3),  # a server that was killed numbers from further back
        delivery(2, 7),
        delivery(3, 5),  # the next number, for something older: the server has forgotten and sent again
        delivery(3, 7),
    ],
)
def test_anything_but_the_next_delivery_is_a_gap(wrong: StoredMessage) -> None:
    order = order_after(delivery(1, 3), delivery(2, 7))
    with pytest.raises(DeliveryGap) as gap:
        order.learn(wrong)
    assert gap.value.reason == "DELIVERY_GAP"
    assert "'c' of INBOX" in str(gap.value)


def test_the_first_delivery_may_be_the_one_that_was_lost() -> None:
    with pytest.raises(DeliveryGap):
        order_after(delivery(2, 7))


@pytest.mark.parametrize("last", [1, 3])
def test_a_heartbeat_that_names_another_last_delivery_is_a_gap(last: int) -> None:
    order = order_after(delivery(1, 3), delivery(2, 7))
    order.learn_last(2)
    with pytest.raises(DeliveryGap):
        order.learn_last(last)


def test_a_consumer_that_was_read_to_the_end_and_acknowledged_goes_on_from_its_own_number() -> None:
    order = DeliveryOrder("INBOX", "c", info(consumer_sequence=10, sequence=40), 41)
    order.learn(delivery(11, 44))


def test_a_stream_that_begins_later_is_no_gap() -> None:
    DeliveryOrder("INBOX", "c", info(consumer_sequence=0, sequence=40), 1)


@pytest.mark.parametrize(
    ("left", "start_sequence"),
    [
        (info(consumer_sequence=10, sequence=40, unacknowledged=1), 41),  # it would come again behind newer ones
        (info(consumer_sequence=10, sequence=40), 40),  # it was given to somebody else
        (info(begins_at=50), 40),
    ],
)
def test_a_consumer_that_would_leave_something_out_is_refused(left: dict[str, Any], start_sequence: int) -> None:
    with pytest.raises(DeliveryGap):
        DeliveryOrder("INBOX", "c", left, start_sequence)
