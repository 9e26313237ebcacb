"""gRPC errors in a trader's words."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest

from kestrel.common.v1 import common_pb2
from kestrel_cli.clients import explain, read_credential
from kestrel_cli.errors import NOT_RUNNING, REFUSED, USAGE, CommandFailed
from kestrel_cli.platform.layout import Layout

LAYOUT = Layout(Path("data"))


class _Error(grpc.RpcError):
    def __init__(self, code: grpc.StatusCode, details: str, refusal: common_pb2.Refusal | None = None) -> None:
        super().__init__()
        self._code, self._details = code, details
        self._metadata = (("kestrel-refusal-bin", refusal.SerializeToString()),) if refusal else ()

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details

    def trailing_metadata(self) -> tuple[tuple[str, bytes], ...]:
        return self._metadata


def test_a_refusal_names_reason_field_value_and_rule() -> None:
    refusal = common_pb2.Refusal(
        reason="ORDER_NOTIONAL",
        field="notional",
        value="250000",
        rule="at most 200000",
        message="the order is too large",
    )
    failure = explain(_Error(grpc.StatusCode.FAILED_PRECONDITION, "x", refusal), LAYOUT)
    assert str(failure) == "ORDER_NOTIONAL: the order is too large (notional '250000')"
    assert failure.next_step == "the rule: at most 200000"
    assert failure.code == REFUSED


def test_what_the_sentence_says_already_is_not_said_twice() -> None:
    refusal = common_pb2.Refusal(
        reason="INVALID", field="id", value="ab", rule="4 or more", message="id 'ab': 4 or more"
    )
    failure = explain(_Error(grpc.StatusCode.INVALID_ARGUMENT, "x", refusal), LAYOUT)
    assert str(failure) == "INVALID: id 'ab': 4 or more"
    assert failure.next_step == ""
    assert failure.code == USAGE


def test_a_person_who_may_not_decide_alone_is_told_how_another_one_does() -> None:
    refusal = common_pb2.Refusal(
        reason="FOUR_EYES",
        field="actor",
        value="trader",
        rule="an approver who did not propose it",
        message="The person who asks already played the other part. Ask a second person.",
    )
    failure = explain(_Error(grpc.StatusCode.FAILED_PRECONDITION, "x", refusal), LAYOUT)
    assert str(failure).startswith("FOUR_EYES: ")
    assert failure.next_step == "the rule: an approver who did not propose it; another approver: --as <operator>"


def test_a_service_that_does_not_answer_points_to_status_and_logs() -> None:
    failure = explain(_Error(grpc.StatusCode.UNAVAILABLE, "connection refused"), LAYOUT)
    assert failure.code == NOT_RUNNING
    assert "kestrel status" in failure.next_step
    assert str(LAYOUT.logs) in failure.next_step


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (grpc.StatusCode.PERMISSION_DENIED, "--as"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "look before asking again"),
    ],
)
def test_the_usual_codes_have_a_next_step(code: grpc.StatusCode, said: str) -> None:
    assert said in explain(_Error(code, "x"), LAYOUT).next_step


def test_an_unknown_operator_is_told_which_there_are_P09(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    (layout.secrets / "operators").mkdir(parents=True)
    layout.credential("risk").write_text("token\n")
    assert read_credential(layout, "risk") == "token"
    with pytest.raises(CommandFailed, match="'ada'") as caught:
        read_credential(layout, "ada")
    assert "risk" in caught.value.next_step
