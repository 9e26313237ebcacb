"""How a service is: what keeps it from being ready, and its figures."""

from __future__ import annotations

import time
from collections.abc import Callable

import psutil

from kestrel.admin.v1 import status_pb2
from kestrel_chassis import telemetry
from kestrel_chassis.settings import ServiceSettings


class ServiceStatus:
    """Ready when nothing blocks it. A blocker has a name, to take it away by, and a sentence for people."""

    def __init__(self, settings: ServiceSettings) -> None:
        self._settings = settings
        self._blockers: dict[str, str] = {}
        self._started_at_ns = time.time_ns()
        self.listeners: list[Callable[[bool], None]] = []

    @property
    def ready(self) -> bool:
        return not self._blockers

    @property
    def reasons(self) -> list[str]:
        return list(self._blockers.values())

    def block(self, name: str, sentence: str) -> None:
        """Not ready, until ``unblock`` with the same name."""
        was_ready = self.ready
        self._blockers[name] = sentence
        if was_ready:
            telemetry.logger().info("service.unready", reason=sentence)
            self._tell()

    def unblock(self, name: str) -> None:
        if self._blockers.pop(name, None) is not None and self.ready:
            telemetry.logger().info("service.ready")
            self._tell()

    def answer(self) -> status_pb2.GetStatusResponse:
        """As the StatusService says it."""
        return status_pb2.GetStatusResponse(
            service=self._settings.service,
            version=telemetry.VERSION,
            instance=self._settings.instance,
            ready=self.ready,
            reasons=self.reasons,
            started_at_ns=self._started_at_ns,
            figures=dict(telemetry.figures()),
            environment=self._settings.environment,
            resident_bytes=psutil.Process().memory_info().rss,
        )

    def _tell(self) -> None:
        for listener in self.listeners:
            listener(self.ready)
