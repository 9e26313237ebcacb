"""The admin port of a service: gRPC over TLS, a credential on every call, roles by method, errors with their reasons.

Health is open to anybody (probes have no credential). Reflection and status need the role viewer. Every method of an
added servicer needs a role in its table: a method without one is refused at start, not guarded by chance.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1._async import HealthServicer

from kestrel.admin.v1 import status_pb2, status_pb2_grpc
from kestrel.common.v1 import common_pb2
from kestrel_chassis import identity, telemetry
from kestrel_chassis.identity import Operator, Role
from kestrel_chassis.rpc_errors import REFUSAL_METADATA, error_from_rpc, status_of
from kestrel_chassis.settings import ServiceSettings
from kestrel_chassis.status import ServiceStatus
from kestrel_domain.errors import InvariantBroken, KestrelError, Refused

__all__ = ["AdminServer", "ServiceStatus", "caller", "channel", "error_from_rpc", "operator", "sync_channel"]

_HEALTH_PREFIX = "/grpc.health.v1.Health/"
_REFLECTION_PREFIX = "/grpc.reflection."
_MESSAGE_BYTES_MAX = 16 << 20

_operator: ContextVar[Operator | None] = ContextVar("kestrel_operator", default=None)


# ---------------------------------------------------------------------- inside a handler


def caller(context: grpc.aio.ServicerContext) -> common_pb2.Actor:  # type: ignore[type-arg]
    """Who calls, and from where, as proved by the channel. Only inside a handler of an ``AdminServer``."""
    return common_pb2.Actor(id=operator().id, kind="operator", origin=context.peer())


def operator() -> Operator:
    """The same with the roles: for rules finer than a role per method."""
    found = _operator.get()
    if found is None:
        raise InvariantBroken("no operator: this is not inside an authenticated call")
    return found


# ---------------------------------------------------------------------- the server


class AdminServer:
    """One per service. Add servicers, then start; ``port`` is the one it got."""

    def __init__(self, settings: ServiceSettings, status: ServiceStatus) -> None:
        self._settings = settings
        self._status = status
        self._adders: list[Callable[[Any], None]] = []
        self._roles: dict[str, Role] = {}
        self._services: list[str] = []
        self._server: grpc.aio.Server | None = None
        self._probe_server: grpc.aio.Server | None = None
        self._health = HealthServicer()
        self.on_broken: Callable[[InvariantBroken], None] | None = None
        """Told when a handler found an invariant broken: the service must stop."""
        self.port = 0
        self.add(
            status_pb2_grpc.add_StatusServiceServicer_to_server, _StatusServicer(status), {"GetStatus": Role.VIEWER}
        )

    def add(self, servicer_adder: Callable[[Any, Any], Any], servicer: Any, roles: Mapping[str, Role]) -> None:
        """Serve it, with the role each of its methods needs. Before ``start``."""
        recorder = _Recorder()
        servicer_adder(servicer, recorder)
        for service, methods in recorder.methods.items():
            if set(methods) != set(roles):
                wrong = sorted(set(methods) ^ set(roles))
                raise InvariantBroken(f"{service}: methods and table of roles differ in {', '.join(wrong)}")
            self._services.append(service)
            self._roles |= {f"/{service}/{method}": roles[method] for method in methods}
        self._adders.append(lambda server: servicer_adder(servicer, server))

    async def start(self) -> int:
        """Listen; the port. Raises ``KestrelError`` if the certificate or the operators' key cannot be read."""
        from grpc_reflection.v1alpha import reflection

        guard = _Guard(self._roles, self._read_secret("operator-public.pem"), self._broken)
        server = grpc.aio.server(
            interceptors=[guard],
            options=[
                ("grpc.max_receive_message_length", _MESSAGE_BYTES_MAX),
                ("grpc.max_send_message_length", _MESSAGE_BYTES_MAX),
                ("grpc.so_reuseport", 0),
            ],
        )
        for add in self._adders:
            add(server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        names = [*self._services, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME]
        reflection.enable_server_reflection(names, server)
        credentials = grpc.ssl_server_credentials([(self._read_secret("server.key"), self._read_secret("server.pem"))])
        address = f"{self._settings.admin_host}:{self._settings.admin_port}"
        try:
            self.port = server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise Refused(f"cannot listen on {address}", reason="ADDRESS_IN_USE", field="admin_port") from error
        self._status.listeners.append(self._set_health_soon)
        await self._set_health(self._status.ready)
        await server.start()
        self._server = server
        await self._start_probes()
        telemetry.logger().info("admin.started", address=f"{self._settings.admin_host}:{self.port}")
        return self.port

    async def stop(self, grace: float = 2.0) -> None:
        """Refuse new calls, let those under way end within ``grace`` seconds."""
        await self._health.enter_graceful_shutdown()
        for server in (self._probe_server, self._server):
            if server is not None:
                await server.stop(grace)

    async def _start_probes(self) -> None:
        if not self._settings.health_port:
            return
        server = grpc.aio.server()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        server.add_insecure_port(f"{self._settings.admin_host}:{self._settings.health_port}")
        await server.start()
        self._probe_server = server

    def _set_health_soon(self, ready: bool) -> None:
        import asyncio

        with contextlib.suppress(RuntimeError):
            self._health_task = asyncio.get_running_loop().create_task(self._set_health(ready))

    async def _set_health(self, ready: bool) -> None:
        serving, not_serving = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
        for name in ("", *self._services):
            await self._health.set(name, serving if ready else not_serving)

    def _read_secret(self, name: str) -> bytes:
        path = Path(self._settings.secrets_dir) / name
        try:
            return path.read_bytes()
        except OSError as error:
            raise Refused(f"cannot read {path}: {error.strerror}", reason="SECRET_MISSING", field=name) from error

    def _broken(self, error: InvariantBroken) -> None:
        if self.on_broken is not None:
            self.on_broken(error)


class _Recorder:
    """Takes the place of a server, to learn which service and methods an adder adds."""

    def __init__(self) -> None:
        self.methods: dict[str, list[str]] = {}

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        for handler in handlers:
            for path in getattr(handler, "_method_handlers", {}):
                service, _, method = path.lstrip("/").rpartition("/")
                known = self.methods.setdefault(service, [])
                if method not in known:
                    known.append(method)

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, Any]) -> None:
        known = self.methods.setdefault(service, [])
        known.extend(method for method in handlers if method not in known)


class _StatusServicer(status_pb2_grpc.StatusServiceServicer):
    def __init__(self, status: ServiceStatus) -> None:
        self._status = status

    async def GetStatus(self, request: Any, context: Any) -> status_pb2.GetStatusResponse:  # noqa: N802
        return self._status.answer()


class _Guard(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]  # generic in the stubs only
    """Around every call: who is it, may they, what came of it."""

    def __init__(
        self, roles: Mapping[str, Role], operator_public_pem: bytes, broken: Callable[[InvariantBroken], None]
    ) -> None:
        self._roles = roles
        self._operator_public_pem = operator_public_pem
        self._broken = broken

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        method = str(handler_call_details.method)
        if handler is None or method.startswith(_HEALTH_PREFIX):
            return handler
        metadata = dict(handler_call_details.invocation_metadata or ())
        return self._guarded(handler, method, metadata)

    def _guarded(self, handler: Any, method: str, metadata: Mapping[str, Any]) -> Any:
        if handler.response_streaming:
            make = grpc.stream_stream_rpc_method_handler if handler.request_streaming else None
            make = make or grpc.unary_stream_rpc_method_handler
            inner = handler.stream_stream if handler.request_streaming else handler.unary_stream

            async def stream(request: Any, context: Any) -> AsyncIterator[Any]:
                async with self._call(method, metadata, context):
                    async for answer in inner(request, context):
                        yield answer

            return make(stream, handler.request_deserializer, handler.response_serializer)

        make = grpc.stream_unary_rpc_method_handler if handler.request_streaming else None
        make = make or grpc.unary_unary_rpc_method_handler
        inner = handler.stream_unary if handler.request_streaming else handler.unary_unary

        async def unary(request: Any, context: Any) -> Any:
            async with self._call(method, metadata, context):
                return await inner(request, context)

        return make(unary, handler.request_deserializer, handler.response_serializer)

    @contextlib.asynccontextmanager
    async def _call(self, method: str, metadata: Mapping[str, Any], context: Any) -> AsyncIterator[None]:
        name = method.rpartition("/")[2]
        telemetry.count("admin.calls")
        token = None
        try:
            found = self._authorized(method, str(metadata.get("authorization", "")))
            token = _operator.set(found)
            with telemetry.span(f"admin.{name}", str(metadata.get("traceparent", ""))) as span:
                span.set("rpc.method", name)
                span.set("enduser.id", found.id)
                yield
        except KestrelError as error:
            await self._abort(context, name, error)
        except (grpc.aio.AbortError, grpc.RpcError):
            raise
        except Exception as error:
            telemetry.logger().exception("admin.broken", method=name)
            await self._abort(context, name, InvariantBroken(f"{name} failed: {type(error).__name__}"))
        finally:
            if token is not None:
                _operator.reset(token)

    def _authorized(self, method: str, authorization: str) -> Operator:
        scheme, _, credential = authorization.partition(" ")
        if scheme.lower() != "bearer":
            credential = ""
        found = identity.verify(self._operator_public_pem, credential.strip(), now_ns=time.time_ns())
        needed = self._roles.get(method, Role.VIEWER if method.startswith(_REFLECTION_PREFIX) else Role.ADMIN)
        if needed not in found.roles:
            raise Refused(
                f"{found.id} lacks the role {needed.name.lower()}",
                reason="ROLE_MISSING",
                field="roles",
                value=", ".join(sorted(role.name.lower() for role in found.roles)),
                rule=f"{method.rpartition('/')[2]} needs {needed.name.lower()}",
            )
        return found

    async def _abort(self, context: Any, name: str, error: KestrelError) -> None:
        telemetry.count("admin.refused")
        log = telemetry.logger()
        if isinstance(error, InvariantBroken):
            log.critical("admin.invariant_broken", method=name, error=str(error))
            self._broken(error)
        else:
            log.info("admin.refused", method=name, reason=error.reason, error=str(error))
        await context.abort(
            status_of(error), str(error)[:1000], ((REFUSAL_METADATA, error.refusal().SerializeToString()),)
        )


# ---------------------------------------------------------------------- clients


def channel(address: str, ca_path: Path, credential: str) -> grpc.aio.Channel:
    """A channel to an admin port for asyncio; every call carries the credential, and the trace it is part of."""
    carriers: Any = [_TraceCarrier()]
    return grpc.aio.secure_channel(address, _credentials(ca_path, credential), interceptors=carriers)


def sync_channel(address: str, ca_path: Path, credential: str) -> grpc.Channel:
    """The same without asyncio, for the command line."""
    return grpc.secure_channel(address, _credentials(ca_path, credential))


class _TraceCarrier(grpc.aio.UnaryUnaryClientInterceptor):  # type: ignore[type-arg]  # generic in the stubs only
    """Adds ``traceparent`` to a call made inside a span."""

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        traceparent = telemetry.current_traceparent()
        if traceparent:
            metadata = grpc.aio.Metadata(*(client_call_details.metadata or ()))
            metadata.add("traceparent", traceparent)
            client_call_details = client_call_details._replace(metadata=metadata)
        return await continuation(client_call_details, request)


def _credentials(ca_path: Path, credential: str) -> grpc.ChannelCredentials:
    transport = grpc.ssl_channel_credentials(ca_path.read_bytes())
    if not credential:
        return transport
    return grpc.composite_channel_credentials(transport, grpc.access_token_call_credentials(credential.strip()))
