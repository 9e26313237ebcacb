"""What the gRPC doors of all simulators have in common: options, refusals, and a port that must be free."""

from __future__ import annotations

from typing import Any, NoReturn

import grpc

from kestrel_domain.errors import InvalidRequest, KestrelError, Refused, Unavailable

REFUSAL_METADATA_KEY = "kestrel-refusal-bin"
Context = grpc.aio.ServicerContext[Any, Any]

OPTIONS = [
    # Two simulators on one port would answer by turns.
    ("grpc.so_reuseport", 0),
    # Clients may ask often whether a quiet stream still lives; by default that is punished as a flood of pings.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 1000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.keepalive_permit_without_calls", 1),
]

_CODES: tuple[tuple[type[Exception], grpc.StatusCode], ...] = (
    (InvalidRequest, grpc.StatusCode.INVALID_ARGUMENT),
    (Refused, grpc.StatusCode.FAILED_PRECONDITION),
    (Unavailable, grpc.StatusCode.UNAVAILABLE),
)


async def abort(context: Context, error: KestrelError, code: grpc.StatusCode | None = None) -> NoReturn:
    """End a call with an error of ours; the refusal travels beside the sentence."""
    if code is None:
        code = next((code for kind, code in _CODES if isinstance(error, kind)), grpc.StatusCode.INTERNAL)
    refusal = error.refusal().SerializeToString()
    await context.abort(code, str(error), trailing_metadata=((REFUSAL_METADATA_KEY, refusal),))
    raise AssertionError("abort never returns")


def port_in_use(host: str, port: int, option: str) -> Unavailable:
    """The same sentence at every door."""
    return Unavailable(
        f"port {port} of {host} is taken; choose another --{option}",
        reason="PORT_IN_USE",
        field=option,
        value=port,
        rule="a free port",
    )


def bind(server: grpc.aio.Server, host: str, port: int, option: str) -> int:
    """The port that was got. Raises ``Unavailable`` when it is taken."""
    try:
        bound = server.add_insecure_port(f"{host}:{port}")
    except RuntimeError:
        bound = 0
    if not bound:
        raise port_in_use(host, port, option)
    return bound
