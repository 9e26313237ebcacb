"""Whether what a consumer delivers is everything, in order: nothing lost on the way, nothing sent a second time.

A consumer numbers its deliveries 1, 2, 3, ... whatever its filter, so a missing number is a message that the server
sent and we never took: the connection broke, or the client library's limit was reached. The server sends such a message
again only after the acknowledgement wait, or never, and behind newer ones. A gap in *stream* sequences proves nothing
where a filter leaves messages out.

A server that was killed may have forgotten its newest deliveries: it then numbers from further back, and what it sends
is what we had. That is a gap as well. There is no way to repair the order of a consumer: its reader makes another one,
from a position of its own.
"""

from __future__ import annotations

from typing import Any

from kestrel_chassis.messages import DeliveryGap, StoredMessage


class DeliveryOrder:
    """The order of one consumer's deliveries to its only reader. After the first gap nothing is in order any more."""

    def __init__(self, stream: str, consumer: str, info: dict[str, Any], start_sequence: int | None) -> None:
        """``info``: the server's description of the consumer, read before anything is asked of it.

        Raises ``DeliveryGap`` when an earlier reader was given something at or behind ``start_sequence``, or something
        that nobody acknowledged (it would come again out of order, or never), or when the consumer begins later.
        """
        self._stream = stream
        self._consumer = consumer
        self._consumer_sequence = int(info["delivered"]["consumer_seq"])
        self._sequence = 0
        unacknowledged_count = int(info.get("num_ack_pending", 0))
        if unacknowledged_count:
            raise self.gap(f"{unacknowledged_count} messages were delivered to somebody and not acknowledged")
        if start_sequence is None:
            return
        begins_at = int(info["config"].get("opt_start_seq", 1))
        if self._consumer_sequence:  # else the server gives the stream's own beginning as the last delivery
            begins_at = int(info["delivered"]["stream_seq"]) + 1
        if begins_at > start_sequence:
            raise self.gap(f"it goes on at {begins_at}, and is wanted from {start_sequence}")

    def learn(self, message: StoredMessage) -> None:
        """Take note of a delivery. Raises ``DeliveryGap`` if it is not the next one."""
        expected = self._consumer_sequence + 1
        if message.delivery_count != 1:
            raise self.gap(f"{message.sequence} is delivered for the {message.delivery_count}. time", message.sequence)
        if message.consumer_sequence != expected:
            raise self.gap(f"delivery {message.consumer_sequence} came, {expected} was due", message.sequence)
        if message.sequence <= self._sequence:
            raise self.gap(f"{message.sequence} came after {self._sequence}", message.sequence)
        self._consumer_sequence = message.consumer_sequence
        self._sequence = message.sequence

    def learn_last(self, consumer_sequence: int) -> None:
        """Take note of what a heartbeat calls the last delivery. Raises ``DeliveryGap`` if we have not had it."""
        if consumer_sequence != self._consumer_sequence:
            raise self.gap(f"delivery {consumer_sequence} was the last, and {self._consumer_sequence} is what came")

    def gap(self, what: str, value: int | str = "") -> DeliveryGap:
        return DeliveryGap(f"consumer {self._consumer!r} of {self._stream}: {what}", field="consumer", value=value)
