"""Errors across gRPC: a class becomes a code, the refusal itself travels in trailing metadata, and comes back whole."""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf.message import DecodeError

from kestrel.common.v1 import common_pb2
from kestrel_chassis.messages import LimitReached
from kestrel_domain.errors import (
    InvalidRequest,
    InvariantBroken,
    KestrelError,
    OutcomeUnknown,
    Refused,
    RemoteProtocolError,
    Unavailable,
)

REFUSAL_METADATA = "kestrel-refusal-bin"

_CODES: list[tuple[type[KestrelError], grpc.StatusCode]] = [
    (InvalidRequest, grpc.StatusCode.INVALID_ARGUMENT),
    (LimitReached, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (Refused, grpc.StatusCode.FAILED_PRECONDITION),
    (Unavailable, grpc.StatusCode.UNAVAILABLE),
    (OutcomeUnknown, grpc.StatusCode.DEADLINE_EXCEEDED),
    (RemoteProtocolError, grpc.StatusCode.UNAVAILABLE),
    (InvariantBroken, grpc.StatusCode.INTERNAL),
]
_CODE_BY_REASON = {
    "CREDENTIAL_MISSING": grpc.StatusCode.UNAUTHENTICATED,
    "CREDENTIAL_INVALID": grpc.StatusCode.UNAUTHENTICATED,
    "CREDENTIAL_EXPIRED": grpc.StatusCode.UNAUTHENTICATED,
    "ROLE_MISSING": grpc.StatusCode.PERMISSION_DENIED,
}
_CLASS_BY_CODE: dict[grpc.StatusCode, type[KestrelError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidRequest,
    grpc.StatusCode.FAILED_PRECONDITION: Refused,
    grpc.StatusCode.PERMISSION_DENIED: Refused,
    grpc.StatusCode.UNAUTHENTICATED: Refused,
    grpc.StatusCode.RESOURCE_EXHAUSTED: LimitReached,
    grpc.StatusCode.NOT_FOUND: Refused,
    grpc.StatusCode.UNIMPLEMENTED: Refused,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.ABORTED: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: OutcomeUnknown,
    grpc.StatusCode.CANCELLED: OutcomeUnknown,
    grpc.StatusCode.INTERNAL: InvariantBroken,
    grpc.StatusCode.DATA_LOSS: InvariantBroken,
}


def status_of(error: KestrelError) -> grpc.StatusCode:
    """The gRPC code of one of our errors."""
    if error.reason in _CODE_BY_REASON:
        return _CODE_BY_REASON[error.reason]
    return next((code for kind, code in _CODES if isinstance(error, kind)), grpc.StatusCode.UNKNOWN)


def error_from_rpc(error: Any) -> KestrelError:
    """The error that the service raised, out of a ``grpc.RpcError`` of the client: class, reason, field, value, rule.

    A failure on the way has the reason GRPC_<CODE>.
    """
    code: grpc.StatusCode = error.code()
    kind = _CLASS_BY_CODE.get(code, OutcomeUnknown)
    for name, value in error.trailing_metadata() or ():
        if name == REFUSAL_METADATA:
            refusal = common_pb2.Refusal()
            try:
                refusal.ParseFromString(value if isinstance(value, bytes) else value.encode())
            except DecodeError:
                break
            return kind(
                refusal.message, reason=refusal.reason, field=refusal.field, value=refusal.value, rule=refusal.rule
            )
    return kind(error.details() or code.name, reason=f"GRPC_{code.name}")
