"""The services of the simulated world: the real cores, behind shells that do one effect at a time.

A node is a generator. Whatever happens between two ``yield``s happens whole; at every ``yield`` the node may be killed
(its memory is gone; the bus, the buckets and the venue remain), or left standing still while its successor works.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from structlog.testing import capture_logs

from kestrel.admin.v1 import governance_pb2
from kestrel.audit.v1 import audit_pb2
from kestrel.authority.v1 import authority_pb2
from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import inbox_pb2, journal_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_domain import effects, subjects
from kestrel_domain.identifiers import derived_id, partition_of
from kestrel_domain.timestamps import MINUTE_NS
from kestrel_governance.core import kill
from kestrel_governance.core.authority import Authority, Effect, RaiseFlag
from kestrel_kernel.core import alerts
from kestrel_kernel.core.partition import Partition, Step
from kestrel_kernel.shell.recovery import recover
from kestrel_kernel.shell.snapshots import PartitionSnapshots
from kestrel_kernel.shell.tenure import LeaseLost
from kestrel_persistence.core import plan
from kestrel_policy.core.parameters import Momentum, Plan, Sizing
from kestrel_policy.core.policy import Moment, PolicyState, decide_bar
from kestrel_policy.shell import recovery as policy_recovery
from kestrel_reconciler.core.reconciliation import AskTruth, Reconciliation, Rules, Truth
from kestrel_testkit.world import KeyExists, Message, WrongSequence, at_once
from kestrel_venue_gateway.core import reports, submission
from kestrel_venue_gateway.core.admission import FlagsRead, Gate
from kestrel_venue_gateway.core.book import AccountBook
from kestrel_venue_gateway.core.traits import VenueState
from kestrel_venue_gateway.core.truth import Portfolio, broker_truth, failed_truth
from tests.simulation.database import Position, record_of
from tests.simulation.leases import OwnerLease
from tests.simulation.referee import JOURNAL

if TYPE_CHECKING:
    from tests.simulation.world import World

ACCOUNT, VENUE = "SIM-1", "paper"
SECOND_ACCOUNT = "SIM-2"
"""Lives in another partition than the first, where there are two."""

RULES = Rules(confirm_at_last_ns=60 * MINUTE_NS)
"""Only differences that are proven: time jumps here by more than a busy account would ever stay unsettled."""

STORED_STREAMS = (
    subjects.INBOX,
    subjects.BEADS,
    subjects.INTENTS,
    subjects.ALERTS,
    subjects.TRUTH,
    subjects.MARKET,
)
"""And the journals, as many as there are partitions."""

SNAPSHOT_EVERY_ENTRIES = 12
DRIFT_QTY = 7

Steps = Iterator[None]


def plan_of(account: str) -> Plan:
    """A momentum strategy that makes up its mind after four bars."""
    return Plan(
        account=account,
        venue=VENUE,
        momentum=Momentum(
            fast_days=1,
            slow_days=3,
            volatility_days=3,
            range_days=2,
            entry_score=0.2,
            stop_range_permille=2000,
            target_range_permille=2000,
            holding_days_max=6,
        ),
        sizing=Sizing(risk_per_trade_bps=5, position_bps_max=40, gross_exposure_bps_max=300),
        refusal_pause_days=1,
    )


def kernel(world: World, number: int = 0) -> Steps:
    """One tenure of the partition's owner; ends when the lease is lost, or somebody else turns out to have written."""
    lease = world.owner_lease(number)
    try:
        if lease is not None:
            yield from lease.acquire()
        yield from _own(world, number, lease)
        if lease is not None:
            lease.release()
    finally:
        if lease is not None:
            lease.end()


def _own(world: World, number: int, lease: OwnerLease | None) -> Steps:
    snapshots = PartitionSnapshots(world.disk, number)  # type: ignore[arg-type]  # all it does is save and load
    with capture_logs():
        saved = at_once(snapshots.load())
        recovered = recover(world.shell_bus, number, world.partition_count, saved)  # type: ignore[arg-type]
        partition, alerts_due = at_once(recovered)
    if saved:
        world.reached("restored from a snapshot")
    try:
        yield
        yield from _later_epoch(world, partition, lease)
        epoch = lease.epoch if lease is not None else world.epoch(number)
        yield from _publish_all(world, alerts_due)
        step = partition.start_epoch(
            epoch, f"kernel-{epoch}", world.account_configurations(number), recorded_at_ns=world.now_ns
        )
        yield from _journal(world, partition, [step], lease)
        entries_since_snapshot = 0
        while True:
            yield
            if world.fault("kernel lease lost", 0.002) or (lease is not None and not lease.is_held()):
                return
            batch = list(world.read_some(subjects.INBOX, partition.inbox_sequence + 1, prefix=f"inbox.{number}."))
            steps = [
                partition.apply(m.subject, m.sequence, m.time_ns, m.data, m.traceparent, recorded_at_ns=world.now_ns)
                for m in batch
            ]
            yield from _journal(world, partition, steps, lease)
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
                tick_id = derived_id("tick", number, account, due_ns, partition.inbox_sequence)
                world.publish(effects.publish(subjects.inbox(number, account, "tick"), tick, tick_id))
    except WrongSequence:
        world.reached("stale owner refused")
    except LeaseLost:
        world.reached("owner ended before it wrote")
    finally:
        partition.close()


def _later_epoch(world: World, partition: Partition, lease: OwnerLease | None) -> Steps:
    """The bucket of leases may have been made anew and count from the beginning: an epoch is later than all before."""
    if lease is None:
        world.next_epoch(partition.partition)
        while world.epoch(partition.partition) <= partition.epoch:
            world.next_epoch(partition.partition)
        return
    while lease.epoch <= partition.epoch:
        yield from lease.acquire_again()


def _journal(world: World, partition: Partition, steps: Sequence[Step], lease: OwnerLease | None) -> Steps:
    """One commit group: all entries, each behind the one before it, and only then what people hear of them."""
    if lease is not None and not lease.is_held():
        raise LeaseLost("the lease is overdue")
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
    authority = Authority(world.limits, world.signing_key, partitions=world.partition_count, instance="sim")
    bus, streams = world.bus, (*world.journals, subjects.BEADS, subjects.MARKET, subjects.INTENTS)
    cursor = {name: bus.last_sequence(name) + 1 for name in streams}
    for message in bus.read(subjects.INTENTS):
        _learn_intent(authority, message)
    for kind in ("mandate", "decision", "token", "kill"):
        for message in bus.read(subjects.BEADS, prefix=f"bead.{kind}."):
            authority.on_bead(audit_pb2.Bead.FromString(message.data))
    for message in bus.read(subjects.INBOX):
        if message.subject.endswith((".entry", ".control")):
            authority.state.learn_inbox(inbox_pb2.InboxMessage.FromString(message.data))
    for name in (*world.journals, subjects.MARKET):
        for message in bus.read(name):
            _learn(world, authority, name, message)
    yield
    yield from _perform(world, authority.recover(now_ns=world.now_ns, flags=world.kill_flags()))
    while True:
        for name in streams:
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
                else:
                    _learn(world, authority, name, message)
        yield from _perform(world, authority.tick(now_ns=world.now_ns))
        yield from _people(world, authority)
        yield


def _learn(world: World, authority: Authority, stream: str, message: Message) -> None:
    if stream == subjects.BEADS:
        authority.on_bead(audit_pb2.Bead.FromString(message.data))
    elif stream == subjects.MARKET:
        authority.on_bar(venue_pb2.Bar.FromString(message.data))
    else:
        world.referee.on_governance_reads(world.journals.index(stream), message.sequence)
        authority.on_journal_entry(journal_pb2.JournalEntry.FromString(message.data))


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

    def __init__(self, world: World, account: str) -> None:
        self.account = account
        self.partition = partition_of(account, world.partition_count)
        self.journal = subjects.journal_stream(self.partition)
        self.book = AccountBook(account, VENUE, self.partition)
        self.gate = Gate(
            account, VENUE, common_pb2.ENVIRONMENT_PAPER, world.signing_key.verifying_key(), 15 * 60 * 10**9, 5 * 10**9
        )
        self.lanes: dict[str, list[tuple[submission.Commission, submission.Procedure, object]]] = {}
        self.watermark = 0
        self.session = world.next_session()
        self.wants_truth = True
        # Of its own: what else happens in a world does not hang on it.
        self._random = random.Random(self.session)

    def begin(self, commission: submission.Commission) -> None:
        lane = self.lanes.setdefault(commission.command.trade_id, [])
        lane.append(
            (commission, submission.one_by_one(submission.procedure(self.gate, commission), self._shuffled), None)
        )

    def _shuffled(self, count: int) -> list[int]:
        """What goes side by side ends in any order, and a crash may come in between."""
        return self._random.sample(range(count), count)


WorldT = TypeVar("WorldT", bound="World")
StateT = TypeVar("StateT", bound=GatewayState)


def gateway(world: World, account: str = ACCOUNT) -> Steps:
    """One session at a venue that numbers its events."""
    yield from gateway_session(world, GatewayState(world, account), _advance, _hear_venue, _publish_truth)


def gateway_session(
    world: WorldT,
    state: StateT,
    advance: Callable[[WorldT, StateT, str], Steps],
    hear_venue: Callable[[WorldT, StateT], Steps],
    publish_truth: Callable[[WorldT, StateT], Steps],
) -> Steps:
    """Fold the journal, take up what is unsettled, carry out commands, hear the venue: as in production.

    ``advance`` performs one effect of a trade's commands.
    """
    account = state.account
    entries = subjects.journal(state.partition, account)
    folded = world.bus.last_sequence(state.journal)
    for message in world.bus.read(state.journal, prefix=entries):
        state.book.apply(message.sequence, journal_pb2.JournalEntry.FromString(message.data))
    for message in world.bus.read(subjects.INBOX, prefix=subjects.inbox(state.partition, account, "venue")):
        report = inbox_pb2.InboxMessage.FromString(message.data).venue
        state.watermark = max(state.watermark, report.venue_watermark)
        if message.sequence > state.book.inbox_sequence:
            state.book.known.learn_ahead(report)
    for commission in state.book.unsettled:
        state.begin(commission)
    yield
    while True:
        for message in world.read_some(state.journal, folded + 1, prefix=entries):
            folded = message.sequence
            for commission in state.book.apply(message.sequence, journal_pb2.JournalEntry.FromString(message.data)):
                state.begin(commission)
        yield
        for trade_id in list(state.lanes):
            if world.random.random() < 0.7:
                yield from advance(world, state, trade_id)
        yield from hear_venue(world, state)
        if state.wants_truth or world.truth_requests[account]:
            yield from publish_truth(world, state)
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
            world.publish(_report_effect(report, state.watermark, commission.traceparent, state.partition))
            state.book.known.learn_ahead(report)
        case submission.Recall(client_order_id):
            return state.book.known.order(client_order_id)
        case submission.Audit(bead):
            bead.created_at_ns = bead.created_at_ns or world.now_ns
            world.publish(effects.bead(bead))
        case submission.RaiseAlert(alert):
            world.publish(effects.alert(alert))
        case submission.Send(command):
            return world.send(command, commission.identity, state.session)
        case submission.SendBracket(commands):
            return world.send_bracket(commands, commission.identity, state.session)
        case submission.Cancel(command):
            return world.cancel(command)
        case submission.Ask(client_order_id, fence):
            return world.ask(client_order_id, fence=fence, account=state.account)
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


def _report_effect(
    report: venue_pb2.VenueReport, watermark: int, traceparent: str, partition: int = 0
) -> effects.Publish:
    report.venue_watermark = watermark
    subject = subjects.inbox(partition, report.account, "venue")
    return effects.publish(subject, inbox_pb2.InboxMessage(venue=report), report.report_id, traceparent=traceparent)


def _hear_venue(world: World, state: GatewayState) -> Steps:
    """Reports of the venue's events, then the watermark that says that all of them are stored."""
    events = world.venue_events(state.watermark, account=state.account)
    if not events or world.fault("venue silent", 0.1):
        return
    heard = []
    for event in events:
        result = reports.hear(event, account=state.account, venue=VENUE, our_symbols=state.book.symbols_ordered)
        if result.report is not None:
            heard.append(result.report)
        if result.attribution is reports.Attribution.FOREIGN:
            world.reached("foreign order heard")
    for place, report in enumerate(heard):
        yield
        is_last = place == len(heard) - 1
        trace = state.book.traceparent(reports.client_order_id_of(report))
        watermark = events[-1].sequence if is_last else state.watermark
        world.publish(_report_effect(report, watermark, trace, state.partition))
        state.book.known.learn_ahead(report)
    state.watermark = events[-1].sequence
    state.wants_truth = True


def _publish_truth(world: World, state: GatewayState) -> Steps:
    yield
    account, asked = state.account, world.truth_requests[state.account]
    request_id = asked.pop() if asked else ""
    state.wants_truth = False
    if world.fault("truth failed", 0.1):
        refusal = common_pb2.Refusal(reason="VENUE_UNREACHABLE")
        truth = failed_truth(
            VENUE, account, refusal, now_ns=world.now_ns, stored_sequence=state.watermark, request_id=request_id
        )
    else:
        answer = world.portfolio(account)
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
        truth = broker_truth(VENUE, account, portfolio, stored_sequence=state.watermark, request_id=request_id)
    message_id = derived_id("truth", VENUE, account, truth.as_of_ns, request_id)
    world.publish(effects.publish(subjects.truth(VENUE, account), truth, message_id))


def reconciler(world: World, account: str = ACCOUNT) -> Steps:
    """Compares, and says so; its effects go to BEADS and ALERTS and nowhere else."""
    state = Reconciliation(account, RULES)
    partition = partition_of(account, world.partition_count)
    journal, entries = subjects.journal_stream(partition), subjects.journal(partition, account)
    cursor = {journal: 1, subjects.TRUTH: 1}
    for message in world.bus.read(subjects.BEADS, prefix=subjects.bead("drift", account)):
        state.take_drift(audit_pb2.Bead.FromString(message.data).drift)
    yield
    while True:
        for message in world.read_some(journal, cursor[journal], prefix=entries):
            cursor[journal] = message.sequence + 1
            state.take_entry(message.sequence, journal_pb2.JournalEntry.FromString(message.data), world.now_ns)
        for message in world.read_some(subjects.TRUTH, cursor[subjects.TRUTH], prefix=subjects.truth(VENUE, account)):
            cursor[subjects.TRUTH] = message.sequence + 1
            truth = venue_pb2.BrokerTruth.FromString(message.data)
            state.take_truth(Truth(truth, message.sequence, world.last_inbox_sequence_before(message)))
        for effect in state.tick(world.now_ns):
            yield
            if isinstance(effect, AskTruth):
                world.truth_requests[account].append(effect.request_id)
                continue
            stream = effect.subject.partition(".")[0]
            assert stream in ("bead", "alert"), f"INV-RECONCILE-READONLY-1: the reconciler wrote to {effect.subject}"
            world.publish(effect)
        world.open_breaks[account] = len(state.open_breaks)
        yield


def policy(world: World) -> Steps:
    """Recovers with its own code, then judges bar after bar; nothing of it happens twice, wherever it dies."""
    state = PolicyState(tuple(map(plan_of, world.accounts)))
    with capture_logs():
        recovered = policy_recovery.recover(world.shell_bus, state, world.partition_count)  # type: ignore[arg-type]
        cursor = at_once(recovered).next_sequences
    yield
    while True:
        for message in world.read_some(subjects.MARKET, cursor[subjects.MARKET]):
            bar = policy_recovery.parsed_bar(message)  # type: ignore[arg-type]  # all it reads is subject and data
            for chosen in state.plans_of(bar.instrument.symbol):
                yield
                is_current = not world.fault("policy is behind the journal", 0.1)
                _catch_up(world, state, cursor, are_journals_read=is_current)
                moment = Moment(
                    world.now_ns, message.time_ns, "sim", "", partitions=world.partition_count, is_current=is_current
                )
                for effect in decide_bar(state, chosen, bar, moment).effects:
                    world.publish(effect)
                    yield
            cursor[subjects.MARKET] = message.sequence + 1
        yield


def _catch_up(world: World, state: PolicyState, cursor: dict[str, int], *, are_journals_read: bool) -> None:
    """What was decided and journaled meanwhile."""
    streams = (subjects.INTENTS, subjects.BEADS, *(world.journals if are_journals_read else ()))
    for stream in streams:
        for message in world.bus.read(stream, start_sequence=cursor[stream]):
            cursor[stream] = message.sequence + 1
            account = message.subject.rsplit(".", 1)[1]
            if account not in state.books:
                continue
            if stream == subjects.INTENTS:
                policy_recovery.learn_intent(state, account, message.data)
            elif stream == subjects.BEADS:
                policy_recovery.learn_bead(state, account, message.data)
            else:
                policy_recovery.learn_entry(state, account, message.data, message.sequence)


def persistence(world: World) -> Steps:
    """Reads from where the database stands, plans rows, and commits them with the new position, or not at all."""
    while True:
        for stream in (*world.journals, *STORED_STREAMS):
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
        if world.random.random() < 0.03:
            world.end_a_day()
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
        elif action < 0.95 and world.fault("drift induced", 0.05):
            world.induce_drift(DRIFT_QTY)


@dataclass(frozen=True, slots=True)
class Node:
    """One process: what it is, and what it does each time it is started."""

    kind: str
    start: Callable[[World], Steps]


def nodes_of(accounts: Sequence[str], partition_count: int) -> dict[str, Node]:
    """The processes of a platform, by name. Where there is one of a kind, it is called after its kind."""
    kernels = {
        _named("kernel", number): Node("kernel", partial(kernel, number=number)) for number in range(partition_count)
    }
    gateways = {
        _named("gateway", place): Node("gateway", partial(gateway, account=name)) for place, name in enumerate(accounts)
    }
    reconcilers = {
        _named("reconciler", place): Node("reconciler", partial(reconciler, account=name))
        for place, name in enumerate(accounts)
    }
    return {
        **kernels,
        "governance": Node("governance", governance),
        **gateways,
        **reconcilers,
        "persistence": Node("persistence", persistence),
        "policy": Node("policy", policy),
        "driver": Node("driver", driver),
    }


def _named(kind: str, number: int) -> str:
    return f"{kind}-{number + 1}" if number else kind
