"""When to ask the broker and when to compare: never more than 12 runs a minute, and never a wish forgotten (T11).

    idle --want--> asking (one question at a time) --truth, or patience over--> due --spacing over--> run

Runs are at least ``spacing`` apart, and what is wanted meanwhile becomes one run afterwards: its trigger is the
strongest of those that were merged.
"""

from __future__ import annotations

from dataclasses import dataclass

from kestrel.reconcile.v1 import reconcile_pb2
from kestrel_domain.timestamps import MINUTE_NS

RUNS_A_MINUTE_MAX = 12
_STRENGTH = (
    reconcile_pb2.RUN_TRIGGER_UNSPECIFIED,
    reconcile_pb2.RUN_TRIGGER_PERIODIC,
    reconcile_pb2.RUN_TRIGGER_EVENT,
    reconcile_pb2.RUN_TRIGGER_ON_DEMAND,
)


@dataclass(slots=True)
class Schedule:
    """One account's. Times are UTC nanoseconds; nothing here reads a clock."""

    period_ns: int
    patience_ns: int
    """How long to wait for a truth that was asked for before comparing with what there is."""
    spacing_ns: int = MINUTE_NS // RUNS_A_MINUTE_MAX
    next_period_ns: int = 0
    ask_at_ns: int | None = None
    """When to ask the broker next; None: nobody wants to know."""
    asked_at_ns: int | None = None
    wanted: reconcile_pb2.RunTrigger.ValueType = reconcile_pb2.RUN_TRIGGER_UNSPECIFIED
    """The strongest wish that no question covers yet."""
    asked_for: reconcile_pb2.RunTrigger.ValueType = reconcile_pb2.RUN_TRIGGER_UNSPECIFIED
    """The strongest wish that the question under way, or its answer, covers."""
    is_answered: bool = False
    last_run_ns: int | None = None

    def want(self, trigger: reconcile_pb2.RunTrigger.ValueType, now_ns: int, *, not_before_ns: int = 0) -> None:
        """A run is wanted, on a truth that is asked for no sooner than ``not_before_ns``."""
        self.wanted = _stronger(self.wanted, trigger)
        at_ns = max(now_ns, not_before_ns)
        if self.asked_at_ns is None:
            # An answer comes as soon as it is asked for, so ask when the run may take place, not before.
            at_ns = max(at_ns, self._free_at_ns() - self.spacing_ns // 10)
            self.ask_at_ns = at_ns if self.ask_at_ns is None else min(self.ask_at_ns, at_ns)
        else:
            self.ask_at_ns = at_ns  # what was asked before may not know of it yet: ask again afterwards

    def answered(self) -> None:
        """A truth arrived, asked for or not."""
        self.asked_at_ns = None
        self.is_answered = True

    def tick(self, now_ns: int) -> None:
        """The period came round."""
        if now_ns >= self.next_period_ns:
            self.next_period_ns = now_ns + self.period_ns
            self.want(reconcile_pb2.RUN_TRIGGER_PERIODIC, now_ns)

    def take_question(self, now_ns: int) -> bool:
        """Whether to ask the broker now; if so, it counts as asked."""
        if self.ask_at_ns is None or now_ns < self.ask_at_ns or self.asked_at_ns is not None:
            return False
        self.ask_at_ns, self.asked_at_ns = None, now_ns
        self.asked_for = _stronger(self.asked_for, self.wanted)
        self.wanted = reconcile_pb2.RUN_TRIGGER_UNSPECIFIED
        return True

    def take_run(self, now_ns: int) -> reconcile_pb2.RunTrigger.ValueType:
        """The trigger of the run that takes place now, or UNSPECIFIED: none is due."""
        patience_over = self.asked_at_ns is not None and now_ns >= self.asked_at_ns + self.patience_ns
        if not (self.is_answered or patience_over) or now_ns < self._free_at_ns():
            return reconcile_pb2.RUN_TRIGGER_UNSPECIFIED
        trigger = self.asked_for or reconcile_pb2.RUN_TRIGGER_PERIODIC
        self.asked_for = reconcile_pb2.RUN_TRIGGER_UNSPECIFIED
        self.is_answered, self.last_run_ns = False, now_ns
        if patience_over:
            self.asked_at_ns = None
        return trigger

    def next_deadline_ns(self) -> int:
        """When to look again."""
        times = [self.next_period_ns]
        if self.ask_at_ns is not None and self.asked_at_ns is None:
            times.append(self.ask_at_ns)
        if self.asked_at_ns is not None:
            times.append(max(self.asked_at_ns + self.patience_ns, self._free_at_ns()))
        if self.is_answered:
            times.append(self._free_at_ns())
        return min(times)

    def _free_at_ns(self) -> int:
        return 0 if self.last_run_ns is None else self.last_run_ns + self.spacing_ns


def _stronger(
    one: reconcile_pb2.RunTrigger.ValueType, other: reconcile_pb2.RunTrigger.ValueType
) -> reconcile_pb2.RunTrigger.ValueType:
    return max(one, other, key=_STRENGTH.index)
