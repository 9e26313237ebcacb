"""The broker's memory: from a log on disk another broker comes to the same state, or the log is refused."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from kestrel.paper.v1 import paper_pb2
from kestrel.tws.v1 import tws_pb2
from kestrel_domain.errors import InvalidRequest, InvariantBroken, Refused
from kestrel_domain.timestamps import MILLISECOND_NS
from kestrel_simulators.log import DurableLog, Record
from kestrel_simulators.tws import memory, requests
from kestrel_simulators.tws.broker import Addressed, Broker
from simulators.tests.tws.broker.floor import ACCOUNT, START_NS, STOCK, decimal

# A client's own frame for BUY 5 AAPL LMT 190.0, of 115 fields; `|` stands for NUL.
PLACE = (
    "3|{id}|0|AAPL|STK||0.0|||SMART||USD|||||{side}|5|LMT|190.0|||||O|0|K{id}|1|0|0|0|0|0|0|0||0.0||||||||0||-1|0|||0|||"
    "0|0||0||||||0|||||0|||||||||||0|||0|0|||0||0|0|0|0|||||||0|||||||||0|0|0|0|||0||"
)
POSITIONS, EXECUTIONS, CANCEL_4 = "61|1", "7|3|9|0||||||", "4|1|4|"


def payload(text: str) -> bytes:
    return (text.replace("|", "\0") + "\0").encode()


def a_day() -> list[Record]:
    """What a server would write down: an account, a price, a client, four orders, a fault, a restart."""
    now = iter(range(START_NS, START_NS + 1_000 * MILLISECOND_NS, MILLISECOND_NS))

    def asked(text: str) -> Record:
        return memory.requested(7, payload(text), next(now))

    def controlled(message: object) -> Record:
        return memory.controlled(message, next(now))  # type: ignore[arg-type]

    price = tws_pb2.PublishQuoteRequest(instrument=STOCK, bid=decimal("200.00"), ask=decimal("200.00"))
    lower = tws_pb2.PublishQuoteRequest(instrument=STOCK, bid=decimal("190.00"), ask=decimal("190.00"))
    mode = tws_pb2.SetModeRequest(mode=paper_pb2.MATCHING_MODE_INSTANT, commission_delay_ms=2)
    return [
        controlled(tws_pb2.OpenAccountRequest(account=ACCOUNT, wallet=decimal("1000000.00"), currency="USD")),
        controlled(mode),
        controlled(price),
        memory.connected(7, next(now)),
        asked(POSITIONS),
        asked(PLACE.format(id=3, side="BUY")),
        asked(PLACE.format(id=4, side="BUY")),
        asked(CANCEL_4),
        controlled(lower),
        controlled(tws_pb2.SetFaultRequest(fault=tws_pb2.FAULT_SWALLOW_ACK, count=1)),
        memory.disconnected(7, next(now)),
        memory.restarted(next(now)),
        memory.connected(7, next(now)),
        asked(PLACE.format(id=5, side="SELL")),
        asked(EXECUTIONS),
        Record(memory.Kind.ADVANCE, next(now), b""),
    ]


def told(broker: Broker, records: list[Record]) -> list[list[Addressed]]:
    return [memory.apply(broker, record) for record in records]


async def written(path: Path, records: list[Record]) -> None:
    log = DurableLog(path, lambda mark: None)
    list(log.replay())
    runner = asyncio.create_task(log.run())
    for record in records:
        log.append(record, None)
    await log.durable(log.position)
    runner.cancel()
    await asyncio.gather(runner, return_exceptions=True)
    await log.close()


async def read(path: Path) -> list[Record]:
    log = DurableLog(path, lambda mark: None)
    records = list(log.replay())
    await log.close()
    return records


async def test_a_broker_that_reads_the_log_is_the_broker_that_wrote_it(tmp_path: Path) -> None:
    first, second = Broker(), Broker()
    said = told(first, a_day())
    await written(tmp_path / "tws.log", a_day())
    again = await read(tmp_path / "tws.log")
    assert told(second, again) == said
    ledger = tws_pb2.GetLedgerRequest(account=ACCOUNT)
    assert second.ledger(ledger) == first.ledger(ledger)
    assert [order.status for order in second.ledger(ledger).orders] == ["Filled", "Cancelled", "Filled"]
    assert second.list_faults() == first.list_faults()
    assert second.next_deadline_ns() == first.next_deadline_ns()


def test_every_prefix_of_the_log_is_a_state_of_its_own() -> None:
    """Killed anywhere, the broker begins again where the log ends."""
    records = a_day()
    whole = told(Broker(), records)
    for end in range(len(records)):
        broker = Broker()
        memory.replay(broker, records[:end])
        assert told(broker, records[end:]) == whole[end:]


def test_a_restart_is_the_end_of_every_connection_and_of_what_was_on_its_way() -> None:
    broker = Broker()
    records = a_day()
    told(broker, records[:9])
    assert broker.next_deadline_ns() is not None
    memory.apply(broker, memory.restarted(records[8].time_ns))
    assert broker.audience.connections == {}
    assert broker.next_deadline_ns() is None


@pytest.mark.parametrize(
    "damaged",
    [
        Record(99, START_NS, b""),
        Record(memory.Kind.CONNECT, START_NS, b"short"),
        Record(memory.Kind.REQUEST, START_NS, b"\0" * 10 + b"garbage"),
        Record(memory.Kind.OPEN_ACCOUNT, START_NS, b"\xff"),
        Record(memory.Kind.BUST_EXECUTION, START_NS, b""),
    ],
)
def test_a_log_that_cannot_be_replayed_is_refused(damaged: Record) -> None:
    with pytest.raises(InvariantBroken, match="cannot be applied"):
        memory.replay(Broker(), [damaged])


def test_time_that_goes_back_in_a_log_is_refused() -> None:
    records = [memory.restarted(START_NS), memory.restarted(START_NS - 1)]
    with pytest.raises(InvariantBroken):
        memory.replay(Broker(), records)


def test_a_refused_control_record_leaves_no_trace() -> None:
    broker = Broker()
    told(broker, a_day()[:8])
    before = broker.ledger(tws_pb2.GetLedgerRequest(account=ACCOUNT))
    now_ns = START_NS + 10 * MILLISECOND_NS
    due = memory.due(broker, now_ns)
    assert due is None
    with pytest.raises(Refused):
        memory.apply(broker, memory.controlled(tws_pb2.BustExecutionRequest(execution_id="x"), now_ns))
    assert broker.ledger(tws_pb2.GetLedgerRequest(account=ACCOUNT)) == before
    assert broker.advance(now_ns) == []


def test_messages_that_are_not_the_brokers_make_no_record() -> None:
    with pytest.raises(InvalidRequest):
        memory.controlled(tws_pb2.DropConnectionsRequest(), START_NS)
    with pytest.raises(InvalidRequest):
        Broker().control(tws_pb2.GetLedgerRequest(), now_ns=START_NS)


def test_only_requests_that_change_nothing_at_all_need_no_record() -> None:
    assert not memory.needs_record(requests.ReqCurrentTime())
    assert not memory.needs_record(requests.UnknownRequest(4711))
    assert memory.needs_record(requests.ReqPositions())
    assert memory.needs_record(requests.CancelOrder(3))
