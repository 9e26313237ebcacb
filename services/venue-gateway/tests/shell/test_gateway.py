"""The gateway as a process, on a real bus, against the paper venue's process."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml

from kestrel.admin.v1 import venue_gateway_pb2, venue_gateway_pb2_grpc
from kestrel.authority.v1 import authority_pb2
from kestrel.common.v1 import common_pb2
from kestrel.kernel.v1 import inbox_pb2
from kestrel.paper.v1 import paper_pb2
from kestrel.venue.v1 import venue_pb2
from kestrel_chassis import telemetry
from kestrel_chassis.admin import channel
from kestrel_domain import subjects
from kestrel_domain.numbers import Number
from kestrel_venue_gateway.core.submission import SpendResult
from kestrel_venue_gateway.shell.ledger import Ledger

pytestmark = pytest.mark.integration

SUBMITTING, ACKNOWLEDGED, REJECTED, DENIED, CANCELED, CANCEL_REJECTED = (
    venue_pb2.ORDER_FACT_SUBMITTING,
    venue_pb2.ORDER_FACT_ACKNOWLEDGED,
    venue_pb2.ORDER_FACT_REJECTED,
    venue_pb2.ORDER_FACT_DENIED,
    venue_pb2.ORDER_FACT_CANCELED,
    venue_pb2.ORDER_FACT_CANCEL_REJECTED,
)


def reason_of(world: Any, command: Any) -> str:
    (report,) = [
        report
        for report in world.kernel.reports
        if report.order.client_order_id == command.client_order_id and report.order.fact == DENIED
    ]
    return str(report.order.reason.reason)


async def arrivals(world: Any) -> dict[str, int]:
    return {arrival.client_order_id: arrival.request_count for arrival in (await world.paper.ledger()).arrivals}


async def list_sessions(world: Any) -> venue_gateway_pb2.ListSessionsResponse:
    document = yaml.safe_load(world.config.read_text())
    secrets = Path(document["common"]["secrets_dir"])
    credential = (secrets / "operators" / "trader.credential").read_text().strip()
    address = f"127.0.0.1:{document['venue-gateway']['admin_port']}"
    async with channel(address, secrets / "ca.pem", credential) as connection:
        stub = venue_gateway_pb2_grpc.VenueGatewayServiceStub(connection)
        response: venue_gateway_pb2.ListSessionsResponse = await stub.ListSessions(
            venue_gateway_pb2.ListSessionsRequest(), timeout=60, wait_for_ready=True
        )
        return response


async def test_entry_fills_and_leaves_by_warrant_with_no_other_service_than_the_gateway_T02(
    world: Any, wait_until: Any
) -> None:
    world.gateway()
    await world.paper.bar(1, "100.00")
    trace = telemetry.new_traceparent()
    entry = world.desk.entry()
    await world.kernel.command(entry, traceparent=trace)
    await wait_until(lambda: world.kernel.fills(entry.client_order_id), "the entry fills")

    leave = world.desk.exit(quantity="10", open_quantity="10")
    await world.kernel.command(leave, traceparent=trace)
    await wait_until(lambda: world.kernel.fills(leave.client_order_id), "the exit fills")

    assert world.kernel.facts(entry.client_order_id)[0] == SUBMITTING
    assert ACKNOWLEDGED in world.kernel.facts(entry.client_order_id)
    assert await arrivals(world) == {entry.client_order_id: 1, leave.client_order_id: 1}
    assert [bead.token.kind for bead in await world.beads()] == [authority_pb2.TOKEN_EVENT_KIND_USED]
    portfolio = await world.paper.orders.GetPortfolio(paper_pb2.GetPortfolioRequest(account="PAPER-1"), timeout=60)
    assert list(portfolio.positions) == []
    # One trace from the command to every report of its order.
    traces = {
        world.kernel.traces[report.report_id][3:35]
        for report in world.kernel.reports
        if report.WhichOneof("body") in ("order", "fill")
    }
    assert traces == {trace[3:35]}

    async def both_counted() -> Any:
        (session,) = (await list_sessions(world)).sessions
        return session if session.orders_sent == 2 else None

    session = await wait_until(both_counted, "the answer to the exit, too, which its fill may outrun")
    assert (session.account, session.connected) == ("PAPER-1", True)


async def test_what_has_no_permission_never_reaches_the_venue_T03_T07(world: Any) -> None:
    world.gateway()
    await world.paper.bar(1, "100.00")
    flags = world.bus.bucket(subjects.FLAGS_BUCKET)
    desk = world.desk

    without = desk.entry(desk.intent("no-token"))
    without.token = ""
    expired = desk.entry(desk.intent("expired"), lambda claims: setattr(claims, "expires_at_ns", desk.now_ns - 1))
    wrong = desk.entry(desk.intent("wrong"))
    wrong.token = desk.entry(desk.intent("other")).token
    live = desk.entry(desk.intent("live"), lambda claims: setattr(claims, "environment", common_pb2.ENVIRONMENT_LIVE))
    for command, reason in (
        (without, "TOKEN_MISSING"),
        (expired, "TOKEN_EXPIRED"),
        (wrong, "TOKEN_INVALID"),
        (live, "TOKEN_ENVIRONMENT"),
    ):
        await world.kernel.command(command)
        await world.settled(command, DENIED)
        assert reason_of(world, command) == reason

    killed = desk.entry(desk.intent("killed"))
    flag = authority_pb2.KillFlag(scope=authority_pb2.KILL_SCOPE_GLOBAL, level=authority_pb2.KILL_LEVEL_BLOCK_ENTRIES)
    await flags.put(subjects.KILL_FLAGS_KEY, authority_pb2.KillFlags(flags=[flag]).SerializeToString())
    await world.kernel.command(killed)
    await world.settled(killed, DENIED)
    assert reason_of(world, killed) == "KILL_ACTIVE"

    await world.bus.api(f"STREAM.DELETE.KV_{subjects.FLAGS_BUCKET}")
    unknown = desk.entry(desk.intent("unknown"))
    await world.kernel.command(unknown)
    await world.settled(unknown, DENIED)
    assert reason_of(world, unknown) == "KILL_STATE_UNKNOWN"

    assert await arrivals(world) == {}
    kinds = [bead.token.kind for bead in await world.beads()]
    assert authority_pb2.TOKEN_EVENT_KIND_USED not in kinds
    assert len(kinds) == 6


async def test_exit_passes_while_everything_is_killed_and_the_flags_are_gone_T07(world: Any, wait_until: Any) -> None:
    world.gateway()
    await world.paper.bar(1, "100.00")
    entry = world.desk.entry()
    await world.kernel.command(entry)
    await wait_until(lambda: world.kernel.fills(entry.client_order_id), "the entry fills")
    await world.bus.api(f"STREAM.DELETE.KV_{subjects.FLAGS_BUCKET}")
    leave = world.desk.exit()
    await world.kernel.command(leave)
    await wait_until(lambda: world.kernel.fills(leave.client_order_id), "the exit fills")


async def test_exits_beyond_the_warrant_are_denied(world: Any, wait_until: Any) -> None:
    world.gateway()
    await world.paper.bar(1, "100.00")
    entry = world.desk.entry()
    await world.kernel.command(entry)
    await wait_until(lambda: world.kernel.fills(entry.client_order_id), "the entry fills")
    first, second = world.desk.exit(input_sequence=1), world.desk.exit(input_sequence=2)
    await world.kernel.command(first)
    await world.kernel.command(second)
    await world.settled(second, DENIED)
    assert reason_of(world, second) == "EXIT_ABOVE_WARRANT"
    assert second.client_order_id not in await arrivals(world)


async def test_command_repeated_in_the_journal_is_a_replay_and_sends_nothing_TOKEN_REPLAY_T03(
    world: Any, wait_until: Any
) -> None:
    world.gateway()
    await world.paper.bar(1, "100.00")
    entry = world.desk.entry()
    await world.kernel.command(entry)
    await world.settled(entry, ACKNOWLEDGED)
    await world.kernel.command(entry)

    async def replay_alerts() -> list[Any]:
        return [alert for alert in await world.alerts() if alert.reason == "TOKEN_REPLAY"]

    await wait_until(replay_alerts, "the replay is alerted")
    await world.kernel.command(world.desk.cancel(entry.client_order_id))
    await world.settled(entry, CANCELED, CANCEL_REJECTED)  # the next of its trade: so the replay is done with
    assert await arrivals(world) == {entry.client_order_id: 1}
    assert DENIED not in world.kernel.facts(entry.client_order_id)


async def test_sixteen_racers_for_one_token_have_one_winner_TOKEN_RACE_T03(bus: Any) -> None:
    await race_for_a_token(bus)


async def test_sixteen_racers_on_three_servers_have_one_winner_TOKEN_RACE_T03(cluster_bus: Any) -> None:
    await race_for_a_token(cluster_bus)


async def race_for_a_token(bus: Any) -> None:
    ledger = Ledger(bus, "PAPER-1", "paper", 0, flags_timeout_s=2.0)
    identities = [f"JOURNAL_0:{number}:0" for number in range(16)]
    results = await asyncio.gather(*(ledger.spend("one-token", identity) for identity in identities))
    assert sorted(result.value for result in results) == ["taken"] * 15 + ["won"]
    winner = identities[results.index(SpendResult.WON)]
    assert await ledger.spend("one-token", winner) is SpendResult.OURS
    assert await ledger.read_spend("one-token", winner) is SpendResult.OURS
    assert await ledger.read_spend("another-token", winner) is SpendResult.WON


async def test_cancel_of_a_working_order_and_of_one_that_never_was(world: Any, wait_until: Any) -> None:
    world.gateway()
    await world.paper.bar(1, "100.00")
    intent = world.desk.intent()
    intent.price.CopyFrom(Number.parse("90.0000").message())
    entry = world.desk.entry(intent)
    await world.kernel.command(entry)
    await world.settled(entry, ACKNOWLEDGED)
    await world.kernel.command(world.desk.cancel(entry.client_order_id))
    await world.settled(entry, CANCELED)
    never = world.desk.cancel("ks" + "z" * 26, "intent-2")
    await world.kernel.command(never)
    await world.settled(never, CANCEL_REJECTED)


async def test_truth_follows_the_facts_it_contains_and_answers_requests(world: Any, wait_until: Any) -> None:
    world.gateway()
    await world.paper.bar(1, "100.00")
    entry = world.desk.entry()
    await world.kernel.command(entry)
    await wait_until(lambda: world.kernel.fills(entry.client_order_id), "the entry fills")
    await world.bus.publish_core(subjects.truth_request("paper", "PAPER-1"), b"request-1")

    async def answers() -> list[venue_pb2.BrokerTruth]:
        found = [venue_pb2.BrokerTruth.FromString(message.data) async for message in world.bus.read(subjects.TRUTH)]
        return [truth for truth in found if truth.request_id == "request-1"]

    (truth,) = await wait_until(answers, "the truth that was asked for")
    assert truth.completeness == venue_pb2.COMPLETENESS_SNAPSHOT
    assert [(position.symbol, Number.of(position.qty)) for position in truth.positions] == [
        ("AAPL", Number.parse("10"))
    ]
    inbox = [inbox_pb2.InboxMessage.FromString(message.data) async for message in world.bus.read(subjects.INBOX)]
    assert 0 < truth.execution_watermark <= max(message.venue.venue_watermark for message in inbox)


async def test_venue_that_cannot_be_asked_gives_a_failed_truth_and_entries_are_burned_not_kept(
    world: Any, wait_until: Any
) -> None:
    document = yaml.safe_load(world.config.read_text())
    document["venue-gateway"]["request_timeout_s"] = 0.3
    world.config.write_text(yaml.safe_dump(document))
    world.paper.kill()
    world.gateway()
    entry = world.desk.entry()
    await world.kernel.command(entry)
    await world.settled(entry, DENIED)
    assert reason_of(world, entry) == "TOKEN_BURNED"

    async def failed() -> bool:
        newest = await world.bus.last_message(subjects.TRUTH)
        return newest is not None and (
            venue_pb2.BrokerTruth.FromString(newest.data).completeness == venue_pb2.COMPLETENESS_FAILED
        )

    await wait_until(failed, "a failed truth")
    world.paper.restart()


async def test_exit_waits_for_a_venue_that_is_away_and_is_sent_once_it_is_back(world: Any, wait_until: Any) -> None:
    document = yaml.safe_load(world.config.read_text())
    document["venue-gateway"] |= {"request_timeout_s": 0.3, "pause_s_max": 0.5}
    world.config.write_text(yaml.safe_dump(document))
    world.gateway()
    await world.paper.bar(1, "100.00")
    entry = world.desk.entry()
    await world.kernel.command(entry)
    await wait_until(lambda: world.kernel.fills(entry.client_order_id), "the entry fills")
    world.paper.kill()
    leave = world.desk.exit()
    await world.kernel.command(leave)
    await world.settled(leave, venue_pb2.ORDER_FACT_IN_DOUBT)
    world.paper.restart()
    await wait_until(lambda: world.kernel.fills(leave.client_order_id), "the exit fills")
    assert len((await world.paper.ledger()).fills) == 2


async def test_bars_reach_the_market_stream_and_value_open_positions(world: Any, wait_until: Any) -> None:
    world.gateway()
    await world.paper.bar(1, "100.00")
    await world.paper.bar(1, "200.00", "MSFT")
    entry = world.desk.entry()
    await world.kernel.command(entry)
    await wait_until(lambda: world.kernel.fills(entry.client_order_id), "the entry fills")
    await wait_until(lambda: list_open(world), "the fill is in the journal")
    await world.has_read_the_journal()
    await world.paper.bar(2, "105.00")
    await world.paper.bar(2, "205.00", "MSFT")

    async def bars() -> list[venue_pb2.Bar]:
        found = [venue_pb2.Bar.FromString(message.data) async for message in world.bus.read(subjects.MARKET)]
        return found if len(found) == 4 else []

    assert [bar.venue_sequence for bar in await wait_until(bars, "four bars")] == [1, 2, 3, 4]
    marks = await wait_until(
        lambda: [report.mark for report in world.kernel.reports if report.WhichOneof("body") == "mark"], "a mark"
    )
    assert [(mark.symbol, Number.of(mark.price)) for mark in marks] == [("AAPL", Number.parse("105"))]


def list_open(world: Any) -> bool:
    """The balance after a fill is journaled behind the fill."""
    bodies = [report.WhichOneof("body") for report in world.kernel.reports]
    return "fill" in bodies and "balance" in bodies[bodies.index("fill") :]


async def test_kill_9_in_mid_run_loses_nothing_and_doubles_nothing(world: Any, wait_until: Any) -> None:
    gateway = world.gateway()
    await world.paper.bar(1, "100.00")
    commands = []
    for number in range(24):
        command = world.desk.entry(world.desk.intent(f"trade-{number}", quantity="1"))
        commands.append(command)
        await world.kernel.command(command)
        if number in (7, 15):
            await wait_until(
                lambda number=number: len(world.kernel.reports) > 3 * number // 2, "the gateway is in the middle of it"
            )
            gateway.kill()
            gateway.restart()

    for command in commands:
        await world.settled(command, ACKNOWLEDGED, DENIED, REJECTED)
    acknowledged = {
        command.client_order_id for command in commands if ACKNOWLEDGED in world.kernel.facts(command.client_order_id)
    }
    ledger = await world.paper.ledger()
    await wait_until(lambda: len(world.kernel.fills()) >= len(ledger.fills), "all fills arrive")
    assert {order.client_order_id for order in ledger.orders} == acknowledged
    assert all(arrival.request_count == 1 for arrival in ledger.arrivals)
    executions = [fill.execution_id for fill in world.kernel.fills()]
    assert sorted(executions) == sorted(fill.execution_id for fill in ledger.fills)
    assert acknowledged
    for command in commands:
        facts = set(world.kernel.facts(command.client_order_id))
        assert not {ACKNOWLEDGED, DENIED} <= facts, "acknowledged and denied"
        if DENIED in facts:
            assert reason_of(world, command) == "TOKEN_BURNED"


async def test_gateway_stops_in_order_and_gives_its_lease_back(world: Any, wait_until: Any) -> None:
    gateway = world.gateway()

    async def leased() -> bool:
        return await world.bus.bucket(subjects.LEASES_BUCKET).get("gateway-paper-PAPER-1") is not None

    await wait_until(leased, "the lease is taken")
    assert gateway.stop() == 0
    assert not await leased()


async def test_sessions_are_not_shown_to_strangers(world: Any) -> None:
    world.gateway()
    await list_sessions(world)
    document = yaml.safe_load(world.config.read_text())
    address = f"127.0.0.1:{document['venue-gateway']['admin_port']}"
    async with channel(address, Path(document["common"]["secrets_dir"]) / "ca.pem", "no credential") as connection:
        stub = venue_gateway_pb2_grpc.VenueGatewayServiceStub(connection)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await stub.ListSessions(venue_gateway_pb2.ListSessionsRequest(), timeout=60)
    assert refused.value.code() in (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
