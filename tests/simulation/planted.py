"""Bugs to find: each breaks one rule of one service, for as long as its context lasts.

A simulation that finds nothing proves something only if it would have found these.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any
from unittest.mock import patch

from kestrel.authority.v1 import authority_pb2
from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import inbox_pb2, journal_pb2, state_pb2
from kestrel_chassis.lease import Lease
from kestrel_domain import effects, subjects
from kestrel_governance.core import authorization, risk
from kestrel_governance.core.authority import Authority
from kestrel_governance.core.state import State
from kestrel_kernel.core import replay, views
from kestrel_kernel.core.partition import Partition
from kestrel_kernel.shell import recovery, snapshots
from kestrel_persistence.core import journal_rows
from kestrel_persistence.core.record import Row
from kestrel_policy.core import policy
from kestrel_reconciler.core.reconciliation import Reconciliation
from kestrel_testkit.world import at_once
from kestrel_venue_gateway.core import admission, reports, submission
from kestrel_venue_gateway.core.book import AccountBook
from tests.simulation import nodes
from tests.simulation.database import Database, Position
from tests.simulation.world import World

Plant = Callable[[], Iterator[None]]


@dataclass(frozen=True)
class Bug:
    """How to plant it, and what the simulation has to say about it: a bug found by accident is not found."""

    planted: Callable[[], AbstractContextManager[None]]
    complaint: str


BUGS: dict[str, Bug] = {}


def bug(complaint: str) -> Callable[[Plant], Plant]:
    def register(plant: Plant) -> Plant:
        BUGS[plant.__name__] = Bug(contextmanager(plant), complaint)
        return plant

    return register


# --- the gateway -----------------------------------------------------------------------------------------------------


@bug("no look at the kill flags between")
def gateway_looks_at_the_flags_only_once() -> Iterator[None]:
    def send_entry(gate: Any, commission: Any, papers: Any) -> submission.Procedure:
        steps = submission.one_by_one(original(gate, commission, papers))
        yield from _with_answers(steps, {submission.ReadKillFlags: _no_flags(commission)})

    original = submission._send_entry
    with patch.object(submission, "_send_entry", send_entry):
        yield


@bug("sent before it was marked")
def gateway_spends_after_sending() -> Iterator[None]:
    def submit(gate: Any, commission: Any) -> submission.Procedure:
        steps = submission.one_by_one(original(gate, commission))
        spend = None
        result = None
        while True:
            try:
                effect = steps.send(result)
            except StopIteration:
                break
            if isinstance(effect, submission.Spend):
                spend, result = effect, submission.SpendResult.WON
                continue
            result = yield effect
        if spend is not None:
            yield spend

    original = submission.submit_entry
    with patch.object(submission, "submit_entry", submit):
        yield


@bug("sent twice|no look at the kill flags")
def gateway_sends_an_entry_again_after_doubt() -> Iterator[None]:
    def resolve(gate: Any, commission: Any, papers: Any) -> submission.Procedure:
        yield submission.Send(commission.command)

    with patch.object(submission, "_resolve_entry", resolve):
        yield


@bug("sent with protection at")
def gateway_sends_a_bracket_without_its_orders() -> Iterator[None]:
    def send_whole(commission: Any) -> Generator[submission.Effect, Any, Any]:
        sent = yield submission.Send(commission.command)
        return sent, []

    with patch.object(submission, "_send_whole", send_whole):
        yield


@bug("a protective order was sent without its entry")
def gateway_sends_a_protective_order_again() -> Iterator[None]:
    def resolve(gate: Any, commission: Any) -> submission.Procedure:
        yield submission.Send(commission.command)

    with patch.object(submission, "resolve_protective", resolve):
        yield


@bug("the venue has an order that was denied|an order was denied that the venue has")
def gateway_asks_without_a_fence() -> Iterator[None]:
    original = World.ask
    with patch.object(
        World, "ask", lambda world, order, *, fence, **about: original(world, order, fence=False, **about)
    ):
        yield


@bug("another command's mark")
def gateway_accepts_a_replayed_token() -> Iterator[None]:
    original = submission._follow_mark

    def follow(gate: Any, commission: Any, papers: Any, mark: Any) -> submission.Procedure:
        if mark is submission.SpendResult.TAKEN:
            yield submission.ReadKillFlags()
            yield submission.Send(commission.command)
        else:
            yield from original(gate, commission, papers, mark)

    with patch.object(submission, "_follow_mark", follow):
        yield


@bug("a kill flag was up when the gateway looked|could not be read")
def gateway_ignores_kill_flags() -> Iterator[None]:
    with patch.object(admission, "_check_kill_flags", _no_objection):
        yield


@bug("a kill flag stopped an exit")
def gateway_holds_exits_back_under_a_kill_flag() -> Iterator[None]:
    original = submission.submit_exit

    def submit(gate: Any, commission: Any) -> submission.Procedure:
        flags = yield submission.ReadKillFlags()
        no = admission._check_kill_flags(commission.command, flags)
        if no is not None:
            yield from submission._refuse_exit(commission, no)
        else:
            yield from original(gate, commission)

    with patch.object(submission, "submit_exit", submit):
        yield


@bug("reported under two ids")
def gateway_names_its_reports_anew_each_time() -> Iterator[None]:
    numbers = count()
    with patch.object(reports, "_identity", lambda *_: f"report-{next(numbers)}"):
        yield


@bug("the watermark passed a fill")
def gateway_moves_the_watermark_before_reports_are_stored() -> Iterator[None]:
    original = nodes._report_effect

    def report_effect(report: Any, watermark: int, *given: Any) -> effects.Publish:
        return original(report, watermark + (1 if report.WhichOneof("body") == "order" else 0), *given)

    with patch.object(nodes, "_report_effect", report_effect):
        yield


@bug("the watermark passed a fill")
def gateway_loses_fills() -> Iterator[None]:
    original = reports.hear
    numbers = count(1)

    def hear(event: Any, **about: Any) -> reports.Heard:
        heard = original(event, **about)
        is_fill = heard.report is not None and heard.report.WhichOneof("body") == "fill"
        return reports.Heard(dropped="lost") if is_fill and next(numbers) % 3 == 0 else heard

    with patch.object(reports, "hear", hear):
        yield


@bug("the watermark passed a settlement|a fee of")
def gateway_loses_settlements() -> Iterator[None]:
    original = reports.hear

    def hear(event: Any, **about: Any) -> reports.Heard:
        heard = original(event, **about)
        is_settlement = heard.report is not None and heard.report.WhichOneof("body") == "settlement"
        return reports.Heard(dropped="lost") if is_settlement else heard

    with patch.object(reports, "hear", hear):
        yield


@bug("did not come to rest")
def gateway_leaves_alone_what_its_predecessor_began() -> Iterator[None]:
    with patch.object(AccountBook, "unsettled", ()):
        yield


# --- the kernel ------------------------------------------------------------------------------------------------------


@bug("follows another entry|applied before")
def kernel_writes_without_an_expected_sequence() -> Iterator[None]:
    original = World.publish
    with (
        patch.object(World, "publish", lambda world, effect, **_: original(world, effect)),
        patch.object(nodes, "_require_ours", _no_objection),
    ):
        yield


@bug("applied before")
def kernel_reads_inputs_again_after_a_restart() -> Iterator[None]:
    original = replay.fold

    def fold(partition: Partition, sequence: int, data: bytes) -> journal_pb2.JournalEntry:
        entry = original(partition, sequence, data)
        partition.inbox_sequence = max(0, partition.inbox_sequence - 1)
        return entry

    with patch.object(replay, "fold", fold):
        yield


@bug("is not what the kernel computes")
def kernel_starts_without_a_replay() -> Iterator[None]:
    def fold(partition: Partition, sequence: int, data: bytes) -> journal_pb2.JournalEntry:
        entry = journal_pb2.JournalEntry.FromString(data)
        if entry.HasField("epoch_started"):
            partition.begin_epoch(entry)
        partition.confirm(data)
        partition.inbox_sequence = max(partition.inbox_sequence, entry.input_sequence)
        return entry

    with patch.object(replay, "fold", fold):
        yield


@bug("parsing message|another journal|journal lost entries")
def kernel_believes_a_torn_snapshot() -> Iterator[None]:
    def decode(data: bytes) -> state_pb2.PartitionSnapshot:
        return state_pb2.PartitionSnapshot.FromString(data[32:])

    with patch.object(snapshots, "decode_snapshot", decode):
        yield


@bug("a snapshot stands at entry|another journal")
def kernel_saves_a_snapshot_before_the_journal_has_its_entries() -> Iterator[None]:
    original = nodes._journal

    def journal(world: World, partition: Partition, *given: Any) -> Iterator[None]:
        at_once(snapshots.PartitionSnapshots(world.disk, partition.partition).save(partition, saved_at_ns=0))  # type: ignore[arg-type]
        yield from original(world, partition, *given)

    with patch.object(nodes, "_journal", journal):
        yield


@bug("another journal|follows another entry|is not what the kernel computes")
def kernel_takes_another_owners_entry_for_its_own() -> Iterator[None]:
    with (
        patch.object(nodes, "_require_ours", _no_objection),
        patch.object(nodes, "SNAPSHOT_EVERY_ENTRIES", 1),  # it shows in what is saved
    ):
        yield


@bug("the venue holds|in one book only")
def gateway_forgets_that_a_fill_was_busted() -> Iterator[None]:
    original = reports.hear

    def hear(event: Any, **about: Any) -> reports.Heard:
        heard = original(event, **about)
        is_bust = heard.report is not None and heard.report.WhichOneof("body") == "bust"
        return reports.Heard(dropped="lost") if is_bust else heard

    with patch.object(reports, "hear", hear):
        yield


@bug("epoch .* follows epoch")
def kernel_begins_an_epoch_that_is_over() -> Iterator[None]:
    original = Partition.start_epoch

    def start(partition: Partition, epoch: int, *given: Any, **named: Any) -> Any:
        partition.epoch = 0
        return original(partition, 1, *given, **named)

    with patch.object(Partition, "start_epoch", start):
        yield


@bug("two hold the lease")
def kernel_believes_in_its_lease_whatever_the_clock_says() -> Iterator[None]:
    with patch.object(Lease, "held", property(lambda lease: lease._revision > 0)):
        yield


@bug("alerts were never published")
def kernel_forgets_the_alerts_of_whoever_died() -> Iterator[None]:
    async def none(*_: Any) -> list[effects.Publish]:
        return []

    with patch.object(recovery, "_unpublished", none):
        yield


@bug("an exit of")
def kernel_sizes_exits_above_what_is_open() -> Iterator[None]:
    original = views.command

    def command(*given: Any) -> journal_pb2.VenueCommand:
        message = original(*given)
        if message.kind == journal_pb2.COMMAND_KIND_SUBMIT_EXIT:
            message.order_qty.units += 1
        return message

    with patch.object(views, "command", command):
        yield


# --- governance ------------------------------------------------------------------------------------------------------


@bug("authorized up to")
def governance_forgets_reservations() -> Iterator[None]:
    with patch.object(State, "reservations", lambda *_, **__: []):
        yield


@bug("under another id")
def governance_issues_tokens_under_new_ids() -> Iterator[None]:
    numbers = count()
    original = authorization._token_claims

    def claims(*given: Any) -> authority_pb2.TokenClaims:
        made = original(*given)
        made.token_id = f"token-{next(numbers)}"
        return made

    with patch.object(authorization, "_token_claims", claims):
        yield


@bug("approved while a kill flag was up")
def governance_ignores_kill_flags() -> Iterator[None]:
    checks = tuple(check for check in risk._CHECKS if check[0] != "KILL_ACTIVE")
    with patch.object(risk, "_CHECKS", checks):
        yield


@bug("was authorized after attempt")
def governance_authorizes_an_older_attempt_after_a_newer_one() -> Iterator[None]:
    checks = tuple(check for check in risk._CHECKS if check[0] != "ATTEMPT_SUPERSEDED")
    pending, propose, chance = Authority.pending, World.propose, World.chance
    others = {"person answers": 2.0, "person kills": 0.0, "person looks": 3.0, "person passes": 0.0}

    def newest_first(self: Authority, *given: Any, **named: Any) -> Any:
        return pending(self, *given, **named)[::-1]

    def propose_again(world: World) -> None:
        newest = list(world._proposed.values())[-5:]
        waiting = next((one for one in newest if one.strategy == "manual" and one.attempt < 3), None)
        if waiting is None:
            propose(world)
        else:
            world._publish_intent(waiting.intent_id, waiting.attempt + 1, waiting.instrument.symbol, waiting.account)

    with (
        patch.object(risk, "_CHECKS", checks),
        # By chance it takes long until people answer the later of two attempts first and its order comes to nothing.
        patch.object(Authority, "pending", newest_first),
        patch.object(World, "propose", propose_again),
        patch.object(World, "chance", lambda world, name, p: chance(world, name, p * others.get(name, 1.0))),
    ):
        yield


@bug("approved what .* proposed")
def governance_lets_people_approve_what_they_proposed() -> Iterator[None]:
    original = Authority._approval_objection
    somebody_else = common_pb2.Actor(id="carol", kind="operator")

    def objection(self: Authority, record: Any, evidence: bytes, actor: Any, *given: Any) -> Any:
        return original(self, record, evidence, somebody_else, *given)

    with patch.object(Authority, "_approval_objection", objection):
        yield


@bug("authorized without a stored approval")
def governance_authorizes_before_its_approval_is_stored() -> Iterator[None]:
    original = Authority._grant

    def grant(self: Authority, *given: Any) -> Iterator[Any]:
        yield from reversed(list(original(self, *given)))

    with patch.object(Authority, "_grant", grant):
        yield


# --- the policy ------------------------------------------------------------------------------------------------------


@bug("without a stored signal")
def policy_proposes_before_its_signal_is_stored() -> Iterator[None]:
    original = policy.decide_bar

    def decide(*given: Any) -> policy.Decision:
        decision = original(*given)
        return policy.Decision(decision.signal, decision.effects[::-1])

    with patch.object(nodes, "decide_bar", decide):
        yield


@bug("given twice, differently|proposed with two contents")
def policy_judges_every_bar_again_after_a_restart() -> Iterator[None]:
    with patch.object(policy.PolicyState, "learn_signal", lambda *_: None):
        yield


# --- the reconciler --------------------------------------------------------------------------------------------------


@bug("a break that nobody induced")
def reconciler_believes_the_first_sight() -> Iterator[None]:
    with patch.object(Reconciliation, "_is_proven", lambda *_: True):
        yield


@bug("has not found the drift")
def reconciler_never_believes_a_difference() -> Iterator[None]:
    with patch.object(Reconciliation, "_is_proven", lambda *_: False):
        yield


@bug("RECONCILE-READONLY")
def reconciler_corrects_the_book() -> Iterator[None]:
    original = Reconciliation.tick

    def tick(state: Reconciliation, now_ns: int) -> list[Any]:
        done = list(original(state, now_ns))
        if state.open_breaks:
            subject = subjects.inbox(0, state.account, "control")
            done.append(effects.publish(subject, inbox_pb2.InboxMessage(), f"fix-{now_ns}"))
        return done

    with patch.object(Reconciliation, "tick", tick):
        yield


# --- persistence ----------------------------------------------------------------------------------------------------


@bug("rows in|are not the")
def persistence_moves_on_without_its_rows() -> Iterator[None]:
    original = Database.commit
    numbers = count(1)

    def commit(database: Database, stream: str, rows: Any, before: Position, after: Position) -> bool:
        return original(database, stream, rows if next(numbers) % 9 else (), before, after)

    with patch.object(Database, "commit", commit):
        yield


@bug("the fills' rows are not the fills")
def persistence_stores_a_bust_as_a_fill() -> Iterator[None]:
    original = journal_rows._fills

    def fills(record: Any, entry: journal_pb2.JournalEntry, message: Any) -> Iterator[Row]:
        for row in original(record, entry, message):
            yield Row(row.table, row.values | {"is_busted": False})

    with patch.object(journal_rows, "_fills", fills):
        yield


@bug("the orders' rows are not")
def persistence_forgets_exits() -> Iterator[None]:
    original = journal_rows._commands

    def commands(record: Any, entry: journal_pb2.JournalEntry) -> Iterator[Row]:
        yield from (row for row in original(record, entry) if not row.values.get("is_exit"))

    with patch.object(journal_rows, "_commands", commands):
        yield


# --- helpers ---------------------------------------------------------------------------------------------------------


def _no_objection(*_: Any) -> None:
    return None


def _no_flags(commission: Any) -> admission.FlagsRead:
    return admission.FlagsRead(True, b"", commission.command.expires_at_ns - 1)


def _with_answers(steps: submission.Procedure, answers: dict[type, Any]) -> Generator[submission.Effect, Any, None]:
    """The same procedure, with some of its questions answered without asking."""
    result = None
    while True:
        try:
            effect = steps.send(result)
        except StopIteration:
            return
        result = answers[type(effect)] if type(effect) in answers else (yield effect)
