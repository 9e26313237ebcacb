"""The services of the simulated world: the real cores, behind shells that do one effect at a time.

A node is a generator. Whatever happens between two ``yield``s happens whole; at every ``yield`` the node may be killed
(its memory is gone; the bus, the buckets and the venue remain), or left standing still while its successor works.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from structlog.testing import capture_logs

from kestrel.admin.v1 import governance_pb2
from kestrel.audit.v1 import audit_pb2
from kestrel.authority.v1 import authority_pb2
from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import inbox_pb2, journal_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain import effects, subjects
from kestrel_domain.identifiers import derived_id
from kestrel_domain.timestamps import MINUTE_NS
from kestrel_governance.core import kill
from kestrel_governance.core.authority import Authority, Effect, RaiseFlag
from kestrel_kernel.core import alerts
from kestrel_kernel.core.partition import Partition, Step
from kestrel_kernel.shell.recovery import recover
from kestrel_kernel.shell.snapshots import PartitionSnapshots
from kestrel_persistence.core import plan
from kestrel_reconciler.core.reconciliation import AskTruth, Reconciliation, Rules, Truth
from kestrel_testkit.world import KeyExists, Message, WrongSequence, at_once
from kestrel_venue_gateway.core import reports, submission
from kestrel_venue_gateway.core.admission import FlagsRead, Gate
from kestrel_venue_gateway.core.book import AccountBook
from kestrel_venue_gateway.core.traits import VenueState
from kestrel_venue_gateway.core.truth import Portfolio, broker_truth, failed_truth
from tests.simulation.database import Position, record_of
from tests.simulation.referee import JOURNAL, PARTITION

if TYPE_CHECKING:
    from tests.simulation.world import World

ACCOUNT, VENUE = "SIM-1", "paper"
RULES = Rules(confirm_at_last_ns=60 * MINUTE_NS)
"""Only differences that are proven: time jumps here by more than a busy account would ever stay unsettled."""

STORED_STREAMS = (JOURNAL, subjects.INBOX, subjects.BEADS, subjects.INTENTS, subjects.ALERTS, subjects.TRUTH)
SNAPSHOT_EVERY_ENTRIES = 25

Steps = Iterator[None]


def kernel(world: World) -> Steps:
    """One tenure of the partition's owner; ends when the lease is lost, or somebody else turns out to have written."""
    snapshots = PartitionSnapshots(world.disk, PARTITION)  # type: ignore[arg-type]  # all it does is save and load
    with capture_logs():
        saved = at_once(snapshots.load())
        partition, alerts_due = at_once(recover(world.shell_bus, PARTITION, 1, saved))  # type: ignore[arg-type]
    if saved:
        world.reached("restored from a snapshot")
    try:
        yield
        epoch = world.next_epoch()
        while epoch <= partition.epoch:  # the lease bucket was made anew and counts from the beginning
            epoch = world.next_epoch()
        yield from _publish_all(world, alerts_due)
        step = partition.start_epoch(
            epoch, f"kernel-{epoch}", [world.account_configuration], recorded_at_ns=world.now_ns
        )
        yield from _journal(world, partition, [step])
        entries_since_snapshot = 0
        while True:
            yield
            if world.fault("kernel lease lost", 0.002):
                return
            batch = list(world.read_some(subjects.INBOX, partition.inbox_sequence + 1, prefix=f"inbox.{PARTITION}."))
            steps = [
                partition.apply(m.subject, m.sequence, m.time_ns, m.data, m.traceparent, recorded_at_ns=world.now_ns)
                for m in batch
            ]
            yield from _journal(world, partition, steps)
            entries_since_snapshot += len(steps)
            if entries_since_snapshot >= SNAPSHOT_EVERY_ENTRIES:
                yield
                with capture_logs():
                    at_once(snapshots.save(partition, saved_at_ns=world.now_ns))
                entries_since_snapshot = 0
            deadline = partition.next_deadline_ns()
            if deadline is not None and deadline[0] <= world.now_ns:
                yield
                due_ns, account = deadline
                tick = inbox_pb2.InboxMessage(tick=inbox_pb2.Tick(account=account, deadline_ns=due_ns))
                tick_id = derived_id("tick", PARTITION, account, due_ns, partition.inbox_sequence)
                world.publish(effects.publish(subjects.inbox(PARTITION, account, "tick"), tick, tick_id))
    except WrongSequence:
        world.reached("stale owner refused")
    finally:
        partition.close()


def _journal(world: World, partition: Partition, steps: Sequence[Step]) -> Steps:
    """One commit group: all entries, each behind the one before it, and only then what people hear of them."""
    for step in steps:
        yield
        stored = world.publish(step.publish(), expected_last_sequence=step.journal_sequence - 1)
        _require_ours(stored, step)
    for step in steps:
        yield from _publish_all(world, alerts.of_entry(step.entry, step.journal_sequence))


def _require_ours(stored: Message, step: Step) -> None:
    """As the real writer does: an input's entry may be stored already, under its id, by somebody else."""
    if stored.sequence != step.journal_sequence or stored.data != step.data:
        raise WrongSequence(f"{stored.message_id} is stored at {stored.sequence}, with other bytes")


def _publish_all(world: World, messages: Iterable[effects.Publish]) -> Steps:
    for message in messages:
        yield
        world.publish(message)


def governance(world: World) -> Steps:
    """Folds what is stored, completes what a crash left undone, then decides."""
    authority = Authority(world.limits, world.signing_key, partitions=1, instance="sim")
    bus = world.bus
    cursor = {name: bus.last_sequence(name) + 1 for name in (subjects.INTENTS, subjects.BEADS, JOURNAL)}
    for message in bus.read(subjects.INTENTS):
        _learn_intent(authority, message)
    for kind in ("mandate", "decision", "token", "kill"):
        for message in bus.read(subjects.BEADS, prefix=f"bead.{kind}."):
            authority.on_bead(audit_pb2.Bead.FromString(message.data))
    for message in bus.read(subjects.INBOX):
        if message.subject.endswith((".entry", ".control")):
            authority.state.learn_inbox(inbox_pb2.InboxMessage.FromString(message.data))
    for message in bus.read(JOURNAL):
        authority.on_journal_entry(journal_pb2.JournalEntry.FromString(message.data))
    yield
    yield from _perform(world, authority.recover(now_ns=world.now_ns, flags=world.kill_flags()))
    while True:
        for name in (JOURNAL, subjects.BEADS, subjects.INTENTS):
            for message in world.read_some(name, cursor[name]):
                cursor[name] = message.sequence + 1
                if name == subjects.INTENTS:
                    decided = authority.on_intent(
                        message.data,
                        account=message.subject.partition(".")[2],
                        received_at_ns=message.time_ns,
                        now_ns=world.now_ns,
                        flags=world.kill_flags(),
                        traceparent=message.traceparent,
                    )
                    yield from _perform(world, decided)
                elif name == subjects.BEADS:
                    authority.on_bead(audit_pb2.Bead.FromString(message.data))
                else:
                    authority.on_journal_entry(journal_pb2.JournalEntry.FromString(message.data))
        yield from _perform(world, authority.tick(now_ns=world.now_ns))
        yield from _people(world, authority)
        yield


def _learn_intent(authority: Authority, message: Message) -> None:
    authority.learn_intent(
        message.data,
        account=message.subject.partition(".")[2],
        received_at_ns=message.time_ns,
        traceparent=message.traceparent,
    )


def _people(world: World, authority: Authority) -> Steps:
    """Approvers, slow and of two minds; and now and then somebody who kills, and two who lower the flag again."""
    if not world.chance("person looks", 0.3):
        return
    for pending in authority.pending("", now_ns=world.now_ns, flags=world.kill_flags()):
        if not world.chance("person answers", 0.4):
            continue
        yield from _perform(world, _answer(world, authority, pending))
    if world.faults_on and world.chance("person kills", 0.04):
        level = world.random.choice(
            [
                authority_pb2.KILL_LEVEL_BLOCK_ENTRIES,
                authority_pb2.KILL_LEVEL_CANCEL_WORKING,
                authority_pb2.KILL_LEVEL_FLATTEN,
            ]
        )
        person = world.random.choice(world.people)
        killed = authority.kill(
            authority_pb2.KILL_SCOPE_GLOBAL, "", level, reason="sim", actor=person, now_ns=world.now_ns
        )
        yield from _perform(world, killed.effects)
    elif world.faults_on and world.chance("people re-arm", 0.05) and world.kill_flags().flags:
        yield
        flags = world.kill_flags()
        for flag in world.kill_flags().flags:
            for person in world.people:
                flags, _, _ = kill.rearmed(flags, flag.scope, flag.target, person, world.now_ns)
        world.store_kill_flags(flags)


def _answer(world: World, authority: Authority, pending: governance_pb2.PendingIntent) -> Iterable[Effect]:
    """One person, one answer; it may be the one who proposed it."""
    intent_id, person = pending.intent.intent_id, world.random.choice(world.people)
    request_id = derived_id("request", intent_id, world.now_ns)
    if world.chance("person passes", 0.2):
        return authority.pass_(intent_id, reason="no", actor=person, request_id=request_id, now_ns=world.now_ns).effects
    answer = authority.approve(
        intent_id,
        evidence_sha256=pending.evidence_sha256,
        reason="yes",
        actor=person,
        request_id=request_id,
        now_ns=world.now_ns,
        flags=world.kill_flags(),
    )
    if answer.refusal is not None:
        world.reached(f"approval refused: {answer.refusal.reason}")
    return answer.effects


def _perform(world: World, wanted: Iterable[Effect]) -> Steps:
    for effect in wanted:
        yield
        if isinstance(effect, RaiseFlag):
            flags = world.kill_flags()
            world.store_kill_flags(kill.raised(flags, effect.flag, world.now_ns))
            world.reached("killed")
        else:
            world.publish(effect)


class GatewayState:
    """What a gateway holds in memory: its fold of the journal, and the procedures under way."""

    def __init__(self, world: World) -> None:
        self.book = AccountBook(ACCOUNT, VENUE, PARTITION)
        self.gate = Gate(
            ACCOUNT, VENUE, common_pb2.ENVIRONMENT_PAPER, world.signing_key.verifying_key(), 15 * 60 * 10**9, 5 * 10**9
        )
        self.lanes: dict[str, list[tuple[submission.Commission, submission.Procedure, object]]] = {}
        self.watermark = 0
        self.session = world.next_session()
        self.wants_truth = True

    def begin(self, commission: submission.Commission) -> None:
        lane = self.lanes.setdefault(commission.command.trade_id, [])
        lane.append((commission, submission.procedure(self.gate, commission), None))


def gateway(world: World) -> Steps:
    """One session: folds the journal, takes up what is unsettled, carries out commands, hears the venue."""
    state = GatewayState(world)
    folded = world.bus.last_sequence(JOURNAL)
    for message in world.bus.read(JOURNAL):
        state.book.apply(message.sequence, journal_pb2.JournalEntry.FromString(message.data))
    for message in world.bus.read(subjects.INBOX):
        if message.subject.endswith(".venue"):
            report = inbox_pb2.InboxMessage.FromString(message.data).venue
            state.watermark = max(state.watermark, report.venue_watermark)
    for commission in state.book.unsettled:
        state.begin(commission)
    yield
    while True:
        for message in world.read_some(JOURNAL, folded + 1):
            folded = message.sequence
            for commission in state.book.apply(message.sequence, journal_pb2.JournalEntry.FromString(message.data)):
                state.begin(commission)
        yield
        for trade_id in list(state.lanes):
            if world.random.random() < 0.7:
                yield from _advance(world, state, trade_id)
        yield from _hear_venue(world, state)
        if state.wants_truth or world.truth_requests:
            yield from _publish_truth(world, state)
        yield


def _advance(world: World, state: GatewayState, trade_id: str) -> Steps:
    """One effect of the oldest command of a trade; one in doubt lets the next one pass."""
    lane = state.lanes[trade_id]
    for place, (commission, steps, result) in enumerate(lane):
        yield
        try:
            effect = steps.send(result)
        except StopIteration:
            lane.pop(place)
            if not lane:
                del state.lanes[trade_id]
            return
        lane[place] = (commission, steps, _effect_result(world, effect, commission, state))
        if not isinstance(effect, submission.Wait):
            return


def _effect_result(
    world: World, effect: submission.Effect, commission: submission.Commission, state: GatewayState
) -> object:
    match effect:
        case submission.ReadKillFlags():
            return _read_flags(world, commission, state)
        case submission.ReadVenueState():
            return VenueState()
        case submission.Spend(key, identity):
            result = _spend(world, key, identity, commission)
            if result is submission.SpendResult.WON:
                world.referee.on_spent(identity, state.session)
            return result
        case submission.ReadSpend(key, identity):
            found = world.bus.get(subjects.SPENT_BUCKET, key)
            if found is None:
                return submission.SpendResult.WON
            ours = found[0] == identity.encode()
            return submission.SpendResult.OURS if ours else submission.SpendResult.TAKEN
        case submission.Record(report):
            world.publish(_report_effect(report, state.watermark, commission.traceparent))
        case submission.Audit(bead):
            bead.created_at_ns = bead.created_at_ns or world.now_ns
            world.publish(effects.bead(bead))
        case submission.RaiseAlert(alert):
            world.publish(effects.alert(alert))
        case submission.Send(command):
            return world.send(command, commission.identity, state.session)
        case submission.Cancel(command):
            return world.cancel(command)
        case submission.Ask(client_order_id, fence):
            return world.ask(client_order_id, fence=fence)
    return None


def _read_flags(world: World, commission: submission.Commission, state: GatewayState) -> FlagsRead:
    reachable = not world.fault("flags unreachable", 0.02)
    world.referee.on_flags_read(commission.identity, state.session, reachable=reachable, reader_now_ns=world.now_ns)
    found = world.bus.get(subjects.FLAGS_BUCKET, subjects.KILL_FLAGS_KEY)
    return FlagsRead(reachable, found[0] if found and reachable else b"", world.now_ns)


def _spend(world: World, key: str, identity: str, commission: submission.Commission) -> submission.SpendResult:
    is_entry = commission.command.kind == journal_pb2.COMMAND_KIND_SUBMIT_ENTRY
    if is_entry and world.fault("token spent by another command", 0.03):
        _create(world, key, f"{JOURNAL}:0:0")
    if world.fault("spend unknown", 0.02):
        if world.random.random() < 0.5:
            _create(world, key, identity)
        return submission.SpendResult.UNKNOWN
    return _create(world, key, identity)


def _create(world: World, key: str, identity: str) -> submission.SpendResult:
    try:
        world.bus.create(subjects.SPENT_BUCKET, key, identity.encode())
        return submission.SpendResult.WON
    except KeyExists:
        found = world.bus.get(subjects.SPENT_BUCKET, key)
        assert found is not None
        return submission.SpendResult.OURS if found[0] == identity.encode() else submission.SpendResult.TAKEN


def _report_effect(report: venue_pb2.VenueReport, watermark: int, traceparent: str) -> effects.Publish:
    report.venue_watermark = watermark
    subject = subjects.inbox(PARTITION, ACCOUNT, "venue")
    return effects.publish(subject, inbox_pb2.InboxMessage(venue=report), report.report_id, traceparent=traceparent)


def _hear_venue(world: World, state: GatewayState) -> Steps:
    """Reports of the venue's events, then the watermark that says that all of them are stored."""
    events = world.venue_events(state.watermark)
    if not events or world.fault("venue silent", 0.1):
        return
    heard = []
    for event in events:
        result = reports.hear(event, account=ACCOUNT, venue=VENUE, our_symbols=state.book.symbols_ordered)
        if result.report is not None:
            heard.append(result.report)
        if result.attribution is reports.Attribution.FOREIGN:
            world.reached("foreign order heard")
    for place, report in enumerate(heard):
        yield
        is_last = place == len(heard) - 1
        trace = state.book.traceparent(reports.client_order_id_of(report))
        world.publish(_report_effect(report, events[-1].sequence if is_last else state.watermark, trace))
    state.watermark = events[-1].sequence
    state.wants_truth = True


def _publish_truth(world: World, state: GatewayState) -> Steps:
    yield
    request_id = world.truth_requests.pop() if world.truth_requests else ""
    state.wants_truth = False
    if world.fault("truth failed", 0.1):
        refusal = common_pb2.Refusal(reason="VENUE_UNREACHABLE")
        truth = failed_truth(
            VENUE, ACCOUNT, refusal, now_ns=world.now_ns, stored_sequence=state.watermark, request_id=request_id
        )
    else:
        answer = world.portfolio()
        portfolio = Portfolio(
            answer.as_of_ns,
            answer.event_sequence,
            list(answer.positions),
            [
                venue_pb2.TruthOrder(
                    client_order_id=order.client_order_id,
                    venue_order_id=order.venue_order_id,
                    symbol=order.symbol,
                    side=order.side,
                    order_qty=order.order_qty,
                    cum_qty=order.cum_qty,
                )
                for order in answer.open_orders
            ],
            answer.balance,
        )
        yield  # the answer is under way, and the world moves on
        truth = broker_truth(VENUE, ACCOUNT, portfolio, stored_sequence=state.watermark, request_id=request_id)
    message_id = derived_id("truth", VENUE, ACCOUNT, truth.as_of_ns, request_id)
    world.publish(effects.publish(subjects.truth(VENUE, ACCOUNT), truth, message_id))


def reconciler(world: World) -> Steps:
    """Compares, and says so; its effects go to BEADS and ALERTS and nowhere else."""
    state = Reconciliation(ACCOUNT, RULES)
    cursor = {JOURNAL: 1, subjects.TRUTH: 1}
    for message in world.bus.read(subjects.BEADS, prefix="bead.drift."):
        state.take_drift(audit_pb2.Bead.FromString(message.data).drift)
    yield
    while True:
        for message in world.read_some(JOURNAL, cursor[JOURNAL]):
            cursor[JOURNAL] = message.sequence + 1
            state.take_entry(message.sequence, journal_pb2.JournalEntry.FromString(message.data), world.now_ns)
        for message in world.read_some(subjects.TRUTH, cursor[subjects.TRUTH]):
            cursor[subjects.TRUTH] = message.sequence + 1
            truth = venue_pb2.BrokerTruth.FromString(message.data)
            state.take_truth(Truth(truth, message.sequence, world.last_inbox_sequence_before(message)))
        for effect in state.tick(world.now_ns):
            yield
            if isinstance(effect, AskTruth):
                world.truth_requests.append(effect.request_id)
                continue
            stream = effect.subject.partition(".")[0]
            assert stream in ("bead", "alert"), f"INV-RECONCILE-READONLY-1: the reconciler wrote to {effect.subject}"
            world.publish(effect)
        world.open_break_count = len(state.open_breaks)
        yield


def persistence(world: World) -> Steps:
    """Reads from where the database stands, plans rows, and commits them with the new position, or not at all."""
    while True:
        for stream in STORED_STREAMS:
            before = world.database.position(stream)
            batch = list(world.read_some(stream, before.sequence + 1))
            if not batch:
                continue
            planned = plan.plan([record_of(message) for message in batch], before.head, {})
            after = Position(batch[-1].sequence, planned.head)
            yield
            world.database.commit(stream, planned.rows, before, after)
            if world.fault("answer of the database lost", 0.03):
                world.database.commit(stream, planned.rows, before, after)
        yield


def driver(world: World) -> Steps:
    """Strategies and operators: intents, exits, cancels; prices move; a stranger trades on our account."""
    while True:
        yield
        if world.random.random() < 0.4:
            world.move_prices()
        if not world.trading_on:
            continue
        action = world.random.random()
        if action < 0.25:
            world.propose()
        elif action < 0.5:
            world.request_exit()
        elif action < 0.65:
            world.request_cancel()
        elif action < 0.75 and world.fault("foreign order", 0.1):
            world.stranger_trades()
        elif action < 0.85 and world.fault("fill busted", 0.1):
            world.bust_a_fill()
        elif action < 0.9 and world.fault("fill corrected", 0.1):
            world.correct_a_fill()
        elif action < 0.95 and not world.referee.drift_symbol and world.fault("drift induced", 0.05):
            world.induce_drift(7)


NODES = {
    "kernel": kernel,
    "governance": governance,
    "gateway": gateway,
    "reconciler": reconciler,
    "persistence": persistence,
    "driver": driver,
}
