"""The six ways a thing can go wrong, and nothing else (style guide, section 11).

Each error carries a stable ``UPPER_SNAKE`` reason for programs, a sentence for people, and, for bad input, the
field, the value and the rule.
"""

from __future__ import annotations

from kestrel.common.v1 import common_pb2


class KestrelError(Exception):
    """Base of every error of ours. ``str(error)`` is the sentence for a person."""

    reason = "ERROR"

    def __init__(self, message: str, *, reason: str = "", field: str = "", value: object = "", rule: str = "") -> None:
        super().__init__(message)
        self.reason = reason or type(self).reason
        self.field = field
        self.value = str(value)
        self.rule = rule

    def refusal(self) -> common_pb2.Refusal:
        """The same as a contract message."""
        return common_pb2.Refusal(
            reason=self.reason, field=self.field, value=self.value[:256], rule=self.rule, message=str(self)
        )


class InvalidRequest(KestrelError, ValueError):
    """It could never be right: the caller has to fix it."""

    reason = "INVALID"

    @classmethod
    def of(cls, field: str, value: object, rule: str, *, reason: str = "INVALID") -> InvalidRequest:
        """The usual form: ``price 12.345: at most 2 decimals``."""
        return cls(f"{field} {str(value)[:120]!r}: {rule}", reason=reason, field=field, value=value, rule=rule)


class Refused(KestrelError):
    """A rule said no. A normal outcome; raised only where a result cannot be returned (gRPC handlers)."""

    reason = "REFUSED"


class Unavailable(KestrelError):
    """It did not happen. The same request, with the same id, may be sent again."""

    reason = "UNAVAILABLE"


class OutcomeUnknown(KestrelError):
    """It may have happened. Ask by identity; never send again blindly."""

    reason = "OUTCOME_UNKNOWN"


class RemoteProtocolError(KestrelError):
    """The peer broke its own rules: quarantine the connection, then reconcile."""

    reason = "REMOTE_PROTOCOL"


class InvariantBroken(KestrelError):
    """One of our own invariants is false. Never caught: stop, page, replay."""

    reason = "INVARIANT_BROKEN"
