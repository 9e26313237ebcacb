"""The pull loop of the hot paths: batches in stream order from a consumer of our own."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal

from kestrel_chassis import telemetry
from kestrel_chassis.bus import Bus
from kestrel_chassis.consumers import consumer_config, consumer_info, delete_consumer, ensure_consumer
from kestrel_chassis.messages import ConsumerLost, DeliveryGap, StoredMessage
from kestrel_chassis.order import DeliveryOrder
from kestrel_chassis.pull import Pull

AckPolicy = Literal["explicit", "all", "none"]

_EPHEMERAL_INACTIVE_S = 60.0
_MANY_DELIVERIES = 10


class PullLoop:
    """Reads one stream in order. Nothing is skipped for having been delivered often: what cannot be handled goes to
    the parking lane and is acknowledged, by the caller.

    ``durable``: the consumer's name, made if missing and compared if there; without it the consumer is this loop's
    own and goes with it. ``start_sequence`` counts only when the consumer is made. ``inactive_threshold_s``: how long a
    durable outlives its reader; None for ever. ``ordered``: every message of the consumer once, in stream order, or
    ``DeliveryGap`` before the first that would not be; for a reader that makes a new loop from a position of its own.
    ``linger_s``: for a reader whom no order waits for; so long it leaves messages behind the first one where they are.
    """

    def __init__(
        self,
        bus: Bus,
        stream: str,
        *,
        durable: str | None = None,
        subjects: Sequence[str] | None = None,
        start_sequence: int | None = None,
        ack: AckPolicy = "explicit",
        batch: int = 256,
        ack_wait_s: float = 30.0,
        max_deliver: int = -1,
        inactive_threshold_s: float | None = None,
        last_per_subject: bool = False,
        ordered: bool = False,
        linger_s: float = 0.0,
    ) -> None:
        self._bus = bus
        self.stream = stream
        self.consumer = durable or f"own-{secrets.token_hex(8)}"
        self._durable = durable is not None
        if inactive_threshold_s is None and not self._durable:
            inactive_threshold_s = _EPHEMERAL_INACTIVE_S
        self._config = consumer_config(
            self.consumer,
            durable=self._durable,
            ack=ack,
            subjects=subjects or ((">",) if last_per_subject else ()),
            start_sequence=start_sequence,
            batch=batch,
            ack_wait_s=ack_wait_s,
            max_deliver=max_deliver,
            inactive_threshold_s=inactive_threshold_s,
            last_per_subject=last_per_subject,
        )
        self._batch = batch
        self._ordered = ordered
        self._linger_s = linger_s
        self._start_sequence = start_sequence
        self._pull: Pull | None = None
        self._stopping = False
        self._failure: ConsumerLost | DeliveryGap | None = None
        self.lag = 0
        """Messages the consumer had still to deliver, as last heard."""

    async def start(self) -> None:
        """Make or find the consumer and ask for messages. ``batches`` does it by itself.

        Raises ``DeliveryGap`` when order is asked of a consumer that somebody has left in disorder.
        """
        if self._pull is not None or self._stopping:
            return
        info = await ensure_consumer(self._bus, self.stream, self._config)
        order = await self._order(info)
        self.lag = int(info.get("num_pending", 0))
        pull = Pull(
            self._bus.client,
            self.stream,
            self.consumer,
            batch=self._batch,
            consumer_exists=self._consumer_exists,
            order=order,
            linger_s=self._linger_s,
        )
        await pull.start()
        self._pull = pull
        self._bus.pulls.add(self)
        self._show_lag()
        if self._stopping:
            await pull.stop()

    async def batches(self) -> AsyncIterator[list[StoredMessage]]:
        """Lists of 1 to ``batch`` messages, until ``stop``. Redeliveries have ``delivery_count`` above 1.

        Raises ``ConsumerLost`` when the consumer was deleted: it is reported and not made again here. After a failure
        in the middle of a batch, what was not acknowledged comes again only after the acknowledgement wait, behind
        newer messages: whoever needs strict order makes a new loop from its own position. What is lost on the way
        comes late in the same way, or never if nothing is acknowledged. With ``ordered``, both raise ``DeliveryGap``
        after everything before it was given out, and so does a reconnect.
        """
        if self._failure is not None:
            raise self._failure
        await self.start()
        while self._pull is not None:
            try:
                messages = await self._pull.next()
            except (ConsumerLost, DeliveryGap) as error:
                await self._fail(error)
                raise
            if not messages:
                return
            self._observe(messages)
            self._bus.batches_in_hand += 1
            try:
                yield messages
            finally:
                self._bus.batches_in_hand -= 1

    async def ack(self, message: StoredMessage) -> None:
        """Done with it. If the acknowledgement is lost the message comes again: effects are idempotent."""
        await self._bus.settle(message, b"+ACK")

    async def ack_all(self, last_message: StoredMessage) -> None:
        """Done with it and everything before it (ack policy ``all``)."""
        await self._bus.settle(last_message, b"+ACK")

    async def nak(self, message: StoredMessage, delay_s: float) -> None:
        """Send it again, after a pause. A pause of nothing would turn a poison message into a storm."""
        delay_ns = int(max(delay_s, 0.05) * 1e9)
        await self._bus.settle(message, b'-NAK {"delay": %d}' % delay_ns)

    async def term(self, message: StoredMessage) -> None:
        """Never send it again, unhandled. The server tells the advisory listener."""
        await self._bus.settle(message, b"+TERM")

    async def in_progress(self, message: StoredMessage) -> None:
        """Still at it: the acknowledgement wait starts anew."""
        await self._bus.settle(message, b"+WPI")

    async def stop(self) -> None:
        """End ``batches`` after the batch in hand. A consumer of our own is deleted."""
        self._stopping = True
        self._bus.pulls.discard(self)
        self._show_lag()
        pull, self._pull = self._pull, None
        if pull is None:
            return
        await pull.stop()
        if not self._durable and self._bus.connected:
            try:
                await delete_consumer(self._bus, self.stream, self.consumer)
            except Exception as error:  # it is only housekeeping: the server drops it by itself
                telemetry.logger().debug("consumer.kept", consumer=self.consumer, error=str(error))

    def reconnected(self) -> None:
        if self._pull is not None:
            self._pull.reconnected()

    async def _order(self, info: dict[str, Any]) -> DeliveryOrder | None:
        if not self._ordered:
            return None
        try:
            return DeliveryOrder(self.stream, self.consumer, info, self._start_sequence)
        except DeliveryGap as error:
            await self._fail(error)
            raise

    async def _fail(self, error: ConsumerLost | DeliveryGap) -> None:
        self._failure = error
        if isinstance(error, DeliveryGap):
            telemetry.count("deliveries.gaps")
            telemetry.logger().warning("delivery.missed", stream=self.stream, consumer=self.consumer, error=str(error))
        else:
            telemetry.count("consumers.lost")
            telemetry.logger().error("consumer.lost", stream=self.stream, consumer=self.consumer, error=str(error))
        await self.stop()

    async def _consumer_exists(self) -> bool:
        try:
            return await consumer_info(self._bus, self.stream, self.consumer) is not None
        except ConsumerLost:
            return False

    def _show_lag(self) -> None:
        """Of the readers of this stream the one that is furthest behind; none reads it: no figure."""
        figure = f"consumer.lag.{self.stream}"
        lags = [each.lag for each in self._bus.pulls if isinstance(each, PullLoop) and each.stream == self.stream]
        if lags:
            telemetry.gauge(figure, max(lags))
        else:
            telemetry.forget(figure)

    def _observe(self, messages: list[StoredMessage]) -> None:
        self.lag = messages[-1].pending
        self._show_lag()
        telemetry.count("messages.received", len(messages))
        again = [message for message in messages if message.delivery_count > 1]
        if again:
            telemetry.count("messages.redelivered", len(again))
        often = [message for message in again if message.delivery_count >= _MANY_DELIVERIES]
        for message in often[:1]:
            telemetry.count("messages.redelivered.often", len(often))
            telemetry.logger().warning(
                "message.redelivered_often",
                stream=message.stream,
                sequence=message.sequence,
                delivery_count=message.delivery_count,
            )
