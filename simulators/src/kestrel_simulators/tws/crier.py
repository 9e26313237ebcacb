"""What is said about orders and executions to those who may hear it, and the faults in saying it.

Nothing here changes what is true of an order: a crier may be silent, late, wrong or out of order, and the books are
right all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from kestrel_domain.numbers import Number
from kestrel_domain.timestamps import MILLISECOND_NS
from kestrel_simulators.tws import hours as wall
from kestrel_simulators.tws.audience import Audience
from kestrel_simulators.tws.faults import Armed, Fault, Faults
from kestrel_simulators.tws.money import amount
from kestrel_simulators.tws.orders import Execution, LiveOrder, Problem, Stage
from kestrel_simulators.tws.replies import CommissionReport, Error, Reply

NEW, MODIFY, CANCEL = "PLACE_ORDER", "MODIFY_ORDER", "CANCEL_ORDER"
"""How the faults of orders name what was asked."""
REPLAY_MS, COMMISSION_LATE_MS, COMMISSION_TRUE_MS, BACKWARD_MS = 2_000, 10_000, 5_000, 0


@dataclass(slots=True)
class Crier:
    """Speaks for the order desk."""

    audience: Audience
    faults: Faults
    commission_delay_ns: int = 100 * MILLISECOND_NS
    now_ns: int = 0

    def complain(self, client_id: int, order_id: int, problem: Problem) -> None:
        """To the client whose request it was, of what no order came."""
        self.audience.news(client_id, Error(order_id, problem.code, problem.text))

    def viewers(self, order: LiveOrder) -> Iterator[int]:
        """Who hears live about an order: the client that placed it; client 0, if it asked, about manual ones."""
        connection = self.audience.connections.get(order.client_id)
        if connection is not None and (not order.is_manual or connection.sees_manual_orders):
            yield order.client_id

    def take(self, fault: Fault, order: LiveOrder, request: str) -> Armed | None:
        """Whether a fault happens to an order; those of other people are spared."""
        if order.is_manual:
            return None
        return self.faults.take(fault, order_type=order.terms.order_type, request=request)

    def tell(self, order: LiveOrder, reply_for: Callable[[int], Reply], due_ns: int | None = None) -> None:
        for viewer in self.viewers(order):
            self.audience.news(viewer, reply_for(viewer), due_ns=due_ns)

    def tell_error(self, order: LiveOrder, code: int, text: str) -> None:
        self.tell(order, lambda viewer: Error(order.shown_order_id(viewer), code, text))

    def acknowledge(self, order: LiveOrder) -> None:
        is_first = not order.said_status
        if is_first and self.take(Fault.SWALLOW_ACK, order, NEW):
            order.said_status = order.status
        elif is_first and order.stage is Stage.WORKING and self.take(Fault.FILL_BEFORE_ACK, order, NEW):
            return
        else:
            self.tell_status(order)

    def tell_change(self, order: LiveOrder) -> None:
        """Say where an order stands if that is not what was said last."""
        if order.stage is Stage.WORKING and order.status != order.said_status:
            self.tell_status(order)

    def tell_status(self, order: LiveOrder, *, copies: int = 1, due_ns: int | None = None) -> None:
        """openOrder and orderStatus, so many times; not at all if the order's statuses are withheld."""
        order.said_status = order.status
        if order.is_status_withheld:
            return
        if self.take(Fault.DUPLICATE_STATUS, order, ""):
            copies = 3
        for _ in range(copies):
            self.tell(order, order.open_order, due_ns)
            self.tell(order, order.order_status, due_ns)

    def tell_status_alone(self, order: LiveOrder) -> None:
        order.said_status = order.status
        if not order.is_status_withheld:
            self.tell(order, order.order_status)

    def tell_fill(self, execution: Execution, delay_ns: int, *, with_status: bool = True) -> None:
        order = execution.order
        swallowed = self.take(Fault.SWALLOW_FILL_THEN_REPLAY, order, "")
        if swallowed is not None:
            delay_ns += (swallowed.delay_ms or REPLAY_MS) * MILLISECOND_NS
        due_ns = self.now_ns + delay_ns if delay_ns else None
        zone = wall.UNKNOWN_ZONE if self.take(Fault.UNKNOWN_TIME_ZONE, order, "") else wall.ZONE
        self.tell(order, lambda viewer: execution.details(-1, viewer, zone), due_ns)
        if with_status:
            self.tell_status(order, copies=2, due_ns=due_ns)
        if order.stage is Stage.FILLED:
            self._tell_backward(order, delay_ns)
        self._tell_commission(execution, delay_ns)

    def _tell_backward(self, order: LiveOrder, delay_ns: int) -> None:
        backward = self.take(Fault.LATE_BACKWARD_STATUS, order, "")
        if backward is None or order.is_status_withheld:
            return
        delay_ns += (backward.delay_ms or BACKWARD_MS) * MILLISECOND_NS
        none = order.listing.qty(0)
        before = replace(
            order.order_status(order.client_id),
            status="Submitted",
            filled=none,
            remaining=order.listing.qty(order.qty_units),
            avg_fill_price=none,
        )
        self.tell(order, lambda viewer: before, self.now_ns + delay_ns if delay_ns else None)

    def _tell_commission(self, execution: Execution, delay_ns: int) -> None:
        order = execution.order
        if self.take(Fault.COMMISSION_NEVER, order, ""):
            execution.is_commission_withheld = True
            return
        delay_ns += self.commission_delay_ns
        late = self.take(Fault.COMMISSION_LATE, order, "")
        if late is not None:
            delay_ns += (late.delay_ms or COMMISSION_LATE_MS) * MILLISECOND_NS
        report = commission_report(execution)
        unknown = self.take(Fault.COMMISSION_MINUS_ONE, order, "")
        if unknown is not None:
            first = replace(report, commission=Number(-10, 1), realized_pnl=None)
            self.tell(order, lambda viewer: first, self.now_ns + delay_ns if delay_ns else None)
            delay_ns += (unknown.delay_ms or COMMISSION_TRUE_MS) * MILLISECOND_NS
        self.tell(order, lambda viewer: report, self.now_ns + delay_ns if delay_ns else None)


def commission_report(execution: Execution) -> CommissionReport:
    realized = execution.realized_units
    return CommissionReport(
        exec_id=execution.execution_id,
        commission=amount(execution.commission_units),
        currency=execution.order.instrument.currency,
        realized_pnl=amount(realized) if realized is not None else None,
    )
