"""A class becomes a code, and a code a class."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from kestrel_chassis.rpc_errors import REFUSAL_METADATA, error_from_rpc, status_of
from kestrel_domain.errors import InvariantBroken, KestrelError, OutcomeUnknown, Refused, Unavailable


class Failure:
    """As a client sees it."""

    def __init__(self, code: grpc.StatusCode, metadata: Any = (), details: str = "words") -> None:
        self._code, self._metadata, self._details = code, metadata, details

    def code(self) -> grpc.StatusCode:
        return self._code

    def trailing_metadata(self) -> Any:
        return self._metadata

    def details(self) -> str:
        return self._details


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.UNAVAILABLE, Unavailable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, OutcomeUnknown),
        (grpc.StatusCode.UNIMPLEMENTED, Refused),
        (grpc.StatusCode.INTERNAL, InvariantBroken),
        (grpc.StatusCode.UNKNOWN, OutcomeUnknown),
    ],
)
def test_a_failure_on_the_way_has_the_class_of_its_code(code: grpc.StatusCode, kind: type[KestrelError]) -> None:
    error = error_from_rpc(Failure(code, None))
    assert type(error) is kind
    assert error.reason == f"GRPC_{code.name}"
    assert str(error) == "words"


def test_metadata_that_cannot_be_read_is_left_out() -> None:
    error = error_from_rpc(Failure(grpc.StatusCode.UNAVAILABLE, [("other", "x"), (REFUSAL_METADATA, b"\xff")], ""))
    assert str(error) == "UNAVAILABLE"


def test_an_error_of_no_class_is_unknown() -> None:
    assert status_of(KestrelError("odd")) == grpc.StatusCode.UNKNOWN
