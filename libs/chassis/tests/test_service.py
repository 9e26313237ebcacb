"""A whole service process: start, refuse, work, drain, end."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import grpc.aio
import pytest
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc

from kestrel.audit.v1 import audit_pb2
from kestrel_chassis.admin import channel
from kestrel_chassis.bus import Bus
from kestrel_chassis.service import EXIT_REFUSED, tell_restart
from kestrel_chassis.supervision import Supervisor
from kestrel_domain.effects import Publish
from kestrel_testkit.fixtures import connect, eventually, provision_afresh
from kestrel_testkit.servers import NatsServer, free_port

pytestmark = pytest.mark.integration

NOT_SERVING, SERVING = health_pb2.HealthCheckResponse.NOT_SERVING, health_pb2.HealthCheckResponse.SERVING
PROGRAM = Path(__file__).with_name("example_service.py")


class Service:
    """The example service as a process."""

    def __init__(self, folder: Path, nats_url: str, secrets: Path) -> None:
        self.port = free_port()
        self.secrets = secrets
        self.log = folder / "service.log"
        self.config = folder / "kestrel.yaml"
        common = {
            "nats_url": nats_url,
            "secrets_dir": str(secrets),
            "data_dir": str(folder),
            "journal_max_bytes": 64 << 20,
        }
        self.config.write_text(yaml.safe_dump({"common": common, "kernel": {"admin_port": self.port}}))
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(PROGRAM), "--config", str(self.config)], stdout=log, stderr=log
            )

    async def ended(self) -> int:
        process = self.process
        assert process is not None
        await eventually(lambda: process.poll() is not None, "the process ends", timeout_s=60)
        return int(process.returncode)

    async def says(self, status: int) -> bool:
        """Whether it answers, and with this."""
        async with channel(f"127.0.0.1:{self.port}", self.secrets / "ca.pem", "") as open_channel:
            try:
                answer = await health_pb2_grpc.HealthStub(open_channel).Check(health_pb2.HealthCheckRequest())
            except grpc.aio.AioRpcError:
                return False
            return bool(answer.status == status)

    async def ready(self) -> None:
        await eventually(lambda: self.says(SERVING), "the service is ready", timeout_s=60)


@pytest.fixture
async def service(own_nats_server: NatsServer, secrets: Path, tmp_path: Path) -> AsyncIterator[Service]:
    found = Service(tmp_path, own_nats_server.url, secrets)
    yield found
    if found.process is not None and found.process.poll() is None:
        found.process.kill()
        found.process.wait()


@pytest.fixture
async def own_bus(own_nats_server: NatsServer, tmp_path: Path) -> AsyncIterator[Bus]:
    bus = await connect(own_nats_server.url, tmp_path)
    await provision_afresh(bus)
    yield bus
    await bus.close()


async def test_sigterm_finishes_what_is_in_hand_gives_the_lease_back_and_exits_0(
    service: Service, own_bus: Bus
) -> None:
    service.start()
    await service.ready()
    await own_bus.publish_all([Publish("inbox.0.A.venue", b"slow", f"m{number}") for number in range(5)])

    async def began() -> bool:
        return (await own_bus.stream_state("BEADS")).messages > 0

    await eventually(began, "the first message is being handled")
    assert service.process is not None
    service.process.send_signal(signal.SIGTERM)

    assert await service.ended() == 0, service.log.read_text()
    handled = [message.data async for message in own_bus.read("BEADS")]
    assert handled == [b"begun", b"ended"] * (len(handled) // 2)

    async def acknowledged() -> bool:
        info = await own_bus.api("CONSUMER.INFO.INBOX.example")
        return bool(info["ack_floor"]["stream_seq"] == len(handled) // 2)

    await eventually(acknowledged, "what was handled is acknowledged")
    assert await own_bus.bucket("leases").get("example") is None


async def test_a_second_signal_ends_it_at_once(service: Service, own_bus: Bus) -> None:
    service.start()
    await service.ready()
    await own_bus.publish(Publish("inbox.0.A.venue", b"stuck", "m"))

    async def began() -> bool:
        return (await own_bus.stream_state("BEADS")).messages > 0

    await eventually(began, "the message is being handled")
    assert service.process is not None
    service.process.send_signal(signal.SIGTERM)
    await eventually(lambda: "service.stopping" in service.log.read_text(), "the first signal is taken")
    service.process.send_signal(signal.SIGTERM)
    assert await service.ended() == 1


async def test_it_refuses_to_start_on_streams_that_somebody_changed(service: Service, own_bus: Bus) -> None:
    config = (await own_bus.api("STREAM.INFO.INBOX"))["config"]
    await own_bus.api("STREAM.UPDATE.INBOX", config | {"max_bytes": 1 << 25})
    service.start()
    assert await service.ended() == EXIT_REFUSED
    assert f"INBOX: max_bytes is {1 << 25}, wanted" in service.log.read_text()
    found = (await own_bus.api("STREAM.INFO.INBOX"))["config"]
    assert found == config | {"max_bytes": 1 << 25}, "what somebody changed is a person's to change back"


async def test_it_refuses_to_start_without_its_secrets(service: Service, own_bus: Bus, tmp_path: Path) -> None:
    document = yaml.safe_load(service.config.read_text())
    document["common"]["secrets_dir"] = str(tmp_path / "nothing")
    service.config.write_text(yaml.safe_dump(document))
    service.start()
    assert await service.ended() == EXIT_REFUSED
    assert "operator-public.pem" in service.log.read_text()


async def test_it_waits_for_the_server_and_can_be_stopped_meanwhile(
    service: Service, own_nats_server: NatsServer
) -> None:
    own_nats_server.process.kill()
    service.start()
    await eventually(lambda: "bus.failed" in service.log.read_text(), "it tries to connect", timeout_s=60)
    assert service.process is not None
    service.process.send_signal(signal.SIGTERM)
    assert await service.ended() == 0


async def test_it_is_not_ready_while_the_server_is_away_and_comes_back_with_it(
    service: Service, own_bus: Bus, own_nats_server: NatsServer
) -> None:
    service.start()
    await service.ready()
    own_nats_server.process.kill()
    await eventually(lambda: service.says(NOT_SERVING), "it says that it is not ready")
    own_nats_server.process.start()
    await service.ready()
    await own_bus.publish_until_stored(Publish("inbox.0.A.venue", b"", "m"))

    async def handled() -> bool:
        return (await own_bus.stream_state("BEADS")).messages == 2

    await eventually(handled, "and works again", timeout_s=60)


async def test_a_restarted_task_is_told_to_people(service: Service, own_bus: Bus) -> None:
    service.start()
    await service.ready()
    await own_bus.publish(Publish("inbox.0.A.venue", b"fail", "m"))

    async def told() -> bool:
        alerts = [audit_pb2.Alert.FromString(message.data) async for message in own_bus.read("ALERTS")]
        return "TASK_RESTARTED" in [alert.reason for alert in alerts]

    await eventually(told, "there is an alert")


async def test_a_restarted_task_is_told_to_people_although_the_bus_was_away(
    own_nats_server: NatsServer, own_bus: Bus
) -> None:
    own_nats_server.process.kill()
    await eventually(lambda: not own_bus.connected, "the client notices")
    supervisor = Supervisor()
    tell_restart(own_bus.settings, own_bus, supervisor, "worker", OSError("no route"))
    own_nats_server.process.start()

    async def told() -> bool:
        return bool((await own_bus.stream_state("ALERTS")).messages)

    await eventually(told, "there is an alert")
    async for message in own_bus.read("ALERTS"):
        assert "worker failed and is started again: no route" in audit_pb2.Alert.FromString(message.data).message
    supervisor.stop()
    assert await supervisor.run() == 0


async def test_settings_that_are_wrong_end_it_with_2(service: Service) -> None:
    service.config.write_text("kernel: {nonsense: 1}\n")
    service.start()
    assert await service.ended() == 2
    assert "kernel.nonsense = 1: is not a setting of this service" in service.log.read_text()
