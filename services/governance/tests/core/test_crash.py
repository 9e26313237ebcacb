"""A crash between any two effects: what a fold of the streams finds is completed, and nothing happens twice."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kestrel.audit.v1 import audit_pb2
from kestrel.authority.v1 import authority_pb2
from kestrel.kernel.v1 import inbox_pb2
from kestrel_domain import effects as domain_effects
from kestrel_domain import subjects
from kestrel_domain.effects import Publish
from kestrel_domain.timestamps import MINUTE_NS, SECOND_NS
from kestrel_governance.core import kill
from kestrel_governance.core.authority import Authority, Effect
from kestrel_governance.core.kill import RaiseFlag
from kestrel_testkit.world import SimulatedBus

Desk = Any
SYMBOLS = ("AAPL", "GOOG", "IBM", "FB")


class Process:
    """Governance over a simulated bus. Performing stops for good after ``patience`` effects: that is the crash."""

    def __init__(self, desk: Desk, bus: SimulatedBus, patience: int) -> None:
        self.desk, self.bus, self.patience = desk, bus, patience
        self.authority = Authority(desk.limits, desk.key, partitions=1, instance=f"process-{patience}")
        self._fold()
        self.perform(self.authority.recover(now_ns=desk.now_ns, flags=self.flags()))

    def flags(self) -> authority_pb2.KillFlags:
        found = self.bus.get(subjects.FLAGS_BUCKET, subjects.KILL_FLAGS_KEY)
        flags = kill.parse(found[0] if found else None)
        assert flags is not None
        return flags

    def offer(self, stored: bytes) -> None:
        record = self.authority.learn_intent(stored, account="PAPER-1", received_at_ns=self.desk.now_ns)
        if record is not None:
            self.perform(
                self.authority.decide(record, self.authority.weigh(record, now_ns=self.desk.now_ns), self.flags())
            )

    def approve(self, intent_id: str) -> None:
        shown = {
            one.intent.intent_id: one for one in self.authority.pending("", now_ns=self.desk.now_ns, flags=self.flags())
        }
        if intent_id not in shown:
            return
        answer = self.authority.approve(
            intent_id,
            evidence_sha256=shown[intent_id].evidence_sha256,
            reason="yes",
            actor=self.desk.ada,
            request_id=f"r-{intent_id}",
            now_ns=self.desk.now_ns,
            flags=self.flags(),
        )
        self.perform(list(answer.effects))

    def kill(self) -> None:
        if self.flags().flags:
            return  # raised before the crash; what follows from it is completed by the recovery
        flag = self.desk.flag(authority_pb2.KILL_SCOPE_SYMBOL, "MSFT", authority_pb2.KILL_LEVEL_FLATTEN)
        self.perform([RaiseFlag(flag), *kill.consequences(flag, self.desk.limits.accounts, 1)])

    def perform(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            if self.patience <= 0:
                return
            self.patience -= 1
            if isinstance(effect, RaiseFlag):
                found = self.bus.get(subjects.FLAGS_BUCKET, subjects.KILL_FLAGS_KEY)
                flags = kill.raised(self.flags(), effect.flag, self.desk.now_ns)
                self.bus.update(
                    subjects.FLAGS_BUCKET,
                    subjects.KILL_FLAGS_KEY,
                    flags.SerializeToString(),
                    found[1] if found else 0,
                )
            else:
                self.bus.publish(effect, now_ns=self.desk.now_ns)

    def _fold(self) -> None:
        for message in self.bus.read(subjects.INTENTS):
            self.authority.learn_intent(message.data, account="PAPER-1", received_at_ns=message.time_ns)
        for kind in ("mandate", "decision", "token", "kill"):
            for message in self.bus.read(subjects.BEADS, prefix=f"bead.{kind}."):
                self.authority.on_bead(audit_pb2.Bead.FromString(message.data))
        for message in self.bus.read(subjects.INBOX):
            self.authority.state.learn_inbox(inbox_pb2.InboxMessage.FromString(message.data))
        self.authority.on_journal_entry(self.desk.healthy_entry())


def world(desk: Desk, count: int, *, mandate_orders: int) -> SimulatedBus:
    """Intents in the stream, each in a symbol of its own, and a mandate that covers the first of them."""
    bus = SimulatedBus()
    mandate = desk.mandate(max_order_count=mandate_orders, symbols=[])
    mandate.granted_by.CopyFrom(desk.bob)
    mandate.granted_at_ns = mandate.not_before_ns = desk.now_ns - SECOND_NS
    bead = audit_pb2.Bead(bead_id="g", account="PAPER-1", created_at_ns=desk.now_ns, mandate=mandate)
    bus.publish(domain_effects.bead(bead), now_ns=desk.now_ns)
    for number in range(count):
        intent = desk.intent(f"i-{number}", instrument__symbol=SYMBOLS[number])
        bus.publish(Publish("intent.PAPER-1", intent.SerializeToString(), f"i-{number}-1"), now_ns=desk.now_ns)
    return bus


def stored_ids(bus: SimulatedBus, stream: str, prefix: str = "") -> list[str]:
    return [message.message_id for message in bus.read(stream, prefix=prefix)]


def what_happened(bus: SimulatedBus) -> dict[str, Any]:
    """Everything that must not depend on where the crashes were."""
    tokens = [
        audit_pb2.Bead.FromString(message.data).token for message in bus.read(subjects.BEADS, prefix="bead.token.")
    ]
    return {
        "entries": sorted(stored_ids(bus, subjects.INBOX, "inbox.0.PAPER-1.entry")),
        "controls": sorted(stored_ids(bus, subjects.INBOX, "inbox.0.PAPER-1.control")),
        "decisions": sorted(stored_ids(bus, subjects.BEADS, "bead.decision.")),
        "tokens": sorted((event.token_id, event.kind) for event in tokens),
        "kills": sorted(stored_ids(bus, subjects.BEADS, "bead.kill.")),
    }


@settings(max_examples=60, deadline=None)
@given(
    patience=st.lists(st.integers(0, 14), max_size=6),
    window_passed=st.booleans(),
)
def test_crashes_anywhere_end_in_what_no_crash_would_have_stored(
    make_desk: Callable[[], Desk], patience: list[int], window_passed: bool
) -> None:
    def run(crashes: list[int]) -> SimulatedBus:
        desk = make_desk()
        bus = world(desk, 4, mandate_orders=2)
        for steps in crashes:
            process = Process(desk, bus, steps)
            for number in range(4):
                process.approve(f"i-{number}")
            if process.patience > 0:
                process.kill()
            if window_passed:
                bus.forget_ids(subjects.BEADS)
                bus.forget_ids(subjects.INBOX)
        last = Process(desk, bus, 10_000)
        for number in range(4):
            last.approve(f"i-{number}")
        last.kill()
        return bus

    crashed, whole = what_happened(run(patience)), what_happened(run([]))
    assert crashed == whole
    assert crashed["entries"] == ["i-0-1", "i-1-1", "i-2-1", "i-3-1"]
    assert len(crashed["tokens"]) == len(set(crashed["tokens"])) == 4
    assert len(crashed["controls"]) == 2


def test_a_permission_found_without_its_entry_is_completed_to_the_byte(make_desk: Callable[[], Desk]) -> None:
    desk = make_desk()
    first, second = world(desk, 1, mandate_orders=5), world(desk, 1, mandate_orders=5)
    Process(desk, first, 10_000)
    Process(desk, second, 1)
    assert stored_ids(second, subjects.INBOX) == []
    desk.now_ns += MINUTE_NS
    Process(desk, second, 10_000)
    [whole], [completed] = list(first.read(subjects.INBOX)), list(second.read(subjects.INBOX))
    assert whole.data == completed.data
    assert whole.message_id == completed.message_id == "i-0-1"


def test_a_permission_found_after_its_five_minutes_is_expired_and_never_sent_INV_T2_TOKEN_1(
    make_desk: Callable[[], Desk],
) -> None:
    desk = make_desk()
    bus = world(desk, 1, mandate_orders=5)
    Process(desk, bus, 1)
    desk.now_ns += 5 * MINUTE_NS
    for _ in range(2):
        Process(desk, bus, 10_000)
    assert stored_ids(bus, subjects.INBOX) == []
    events = [
        audit_pb2.Bead.FromString(message.data).token.kind for message in bus.read(subjects.BEADS, prefix="bead.token.")
    ]
    assert events == [authority_pb2.TOKEN_EVENT_KIND_EXPIRED]


def test_a_flag_found_without_its_bead_and_controls_is_completed_once(make_desk: Callable[[], Desk]) -> None:
    desk = make_desk()
    bus = world(desk, 0, mandate_orders=5)
    process = Process(desk, bus, 1)
    process.kill()
    assert stored_ids(bus, subjects.INBOX) == []
    for _ in range(2):
        Process(desk, bus, 10_000)
        bus.forget_ids(subjects.INBOX)
        bus.forget_ids(subjects.BEADS)
    assert len(stored_ids(bus, subjects.BEADS, "bead.kill.")) == 1
    assert len(stored_ids(bus, subjects.INBOX, "inbox.0.PAPER-1.control")) == 2
