"""Frames and field texts: however bytes are cut, and whatever they say."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kestrel_domain.errors import InvalidRequest
from kestrel_domain.numbers import Number
from kestrel_simulators.tws import wire
from kestrel_simulators.tws.wire import FieldReader, FrameReader, Hello, WireError

FIELD_TEXTS = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20)


@given(st.lists(st.binary(max_size=60), max_size=8), st.data())
def test_frames_survive_any_cut_of_the_stream(payloads: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(map(wire.frame, payloads))
    reader, read, position = FrameReader(), [], 0
    while position < len(stream):
        size = data.draw(st.integers(1, len(stream) - position))
        read += reader.receive(stream[position : position + size])
        position += size
    assert read == payloads


def test_a_frame_that_announces_too_much_is_refused_before_it_is_read() -> None:
    reader = FrameReader(frame_bytes_max=10)
    assert reader.receive(wire.frame(b"0123456789")) == [b"0123456789"]
    with pytest.raises(WireError, match="at most 10 bytes"):
        reader.receive((11).to_bytes(4, "big"))


@given(st.lists(FIELD_TEXTS, min_size=1))
def test_fields_are_split_as_they_were_joined(texts: list[str]) -> None:
    assert wire.split(wire.join(texts)) == texts


@pytest.mark.parametrize("payload", [b"", b"71", b"71\0002", b"\xff\0"])
def test_a_payload_that_does_not_end_its_last_field_or_is_no_text_is_refused(payload: bytes) -> None:
    with pytest.raises(WireError):
        wire.split(payload)


def test_a_text_with_a_nul_is_never_sent() -> None:
    with pytest.raises(InvalidRequest, match="no NUL"):
        wire.join(["4", "a\0b"])


@pytest.mark.parametrize(
    "payload, hello",
    [
        (b"v157..176", Hello(157, 176)),
        (b"v157..178", Hello(157, 178)),
        (b"v160", Hello(160, 160)),
        (b"v157..176 +PACEAPI", Hello(157, 176, "+PACEAPI")),
    ],
)
def test_the_first_frame_names_the_versions_of_the_client(payload: bytes, hello: Hello) -> None:
    assert wire.parse_hello(payload) == hello


@pytest.mark.parametrize("payload", [b"", b"v", b"157..176", b"v157..176\0", b"v157..", b"v99999", b"\xff"])
def test_a_first_frame_of_any_other_form_is_refused(payload: bytes) -> None:
    with pytest.raises(WireError):
        wire.parse_hello(payload)


@pytest.mark.parametrize(
    "versions, agreed", [((157, 176), 176), ((157, 178), 176), ((100, 160), 160), ((176, 200), 176)]
)
def test_the_version_is_the_highest_that_both_speak(versions: tuple[int, int], agreed: int) -> None:
    assert wire.agreed_version(Hello(*versions)) == agreed


@pytest.mark.parametrize("versions", [(177, 200), (100, 156), (170, 160)])
def test_versions_without_a_common_one_are_refused(versions: tuple[int, int]) -> None:
    with pytest.raises(WireError, match="157 to 176"):
        wire.agreed_version(Hello(*versions))


@pytest.mark.parametrize(
    "text, value",
    [
        ("5", "5"),
        ("5.0", "5"),
        ("190.25", "190.25"),
        ("1e-05", "0.00001"),
        ("-3.5E2", "-350"),
        ("0e500", "0"),
        ("0.1000000000000000055511", None),
        ("1E-18", "0.000000000000000001"),
        ("1.000000000000000000000", "1"),
        ("1e9", "1000000000"),
        ("-1000000000.0", "-1000000000"),
    ],
)
def test_numbers_are_read_exactly_or_not_at_all(text: str, value: str | None) -> None:
    if value is None:
        with pytest.raises(WireError, match="decimals"):
            wire.read_number(text, "price")
    else:
        assert wire.read_number(text, "price") == Number.parse(value)


@pytest.mark.parametrize("text", ["", wire.UNSET_DOUBLE, "1.7976931348623157e+308"])
def test_an_unset_number_is_none_and_refused_where_one_is_needed(text: str) -> None:
    assert wire.read_optional_number(text, "price") is None
    with pytest.raises(WireError):
        wire.read_number(text, "price")


@pytest.mark.parametrize(
    "text", ["ten", "NaN", "inf", "Infinite", "1_0", "0x1", " 1", "1 ", "--1", "1e", "1e9999", "٣", "1e19"]
)
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(WireError):
        wire.read_optional_number(text, "price")


@pytest.mark.parametrize("text", ["", "1.0", "x", "²", "99999999999999999999"])
def test_what_is_no_whole_number_is_refused(text: str) -> None:
    with pytest.raises(WireError):
        wire.read_integer(text, "id")


def test_the_largest_int_means_unset() -> None:
    assert wire.read_optional_integer("2147483647", "size") is None
    assert wire.read_optional_integer("", "size") is None
    assert wire.read_optional_integer("2147483646", "size") == 2147483646


@pytest.mark.parametrize("text", ["True", "true", "", "2", "01"])
def test_a_flag_is_0_or_1_and_nothing_else(text: str) -> None:
    assert [wire.read_flag("0", "flag"), wire.read_flag("1", "flag")] == [False, True]
    with pytest.raises(WireError, match="0 or 1"):
        wire.read_flag(text, "flag")


@pytest.mark.parametrize("text", ["1000000000.01", "-1e10", "9223372036854775807", "1e299", "-1.7976931348623157e308"])
def test_numbers_that_no_order_can_mean_are_refused(text: str) -> None:
    with pytest.raises(WireError, match="at most 1000000000"):
        wire.read_optional_number(text, "price")


def test_a_number_with_more_digits_than_64_bits_hold_is_refused() -> None:
    with pytest.raises(WireError, match="fewer digits"):
        wire.read_number("999999999.123456789012345678", "price")


@given(st.integers(-(10**18), 10**18), st.integers(9, 18))
def test_numbers_are_written_as_they_are_read(units: int, scale: int) -> None:
    number = Number(units, scale)
    assert wire.read_number(wire.text_of(number), "x") == number
    assert Decimal(wire.text_of(number)) == number.decimal()


def test_values_are_written_as_gateways_write_them() -> None:
    assert [wire.text_of(value) for value in (True, False, 7, "x", Number(190, 1), None)] == [
        "1",
        "0",
        "7",
        "x",
        "19.0",
        "",
    ]
    assert wire.text_of(None, wire.UNSET_DOUBLE) == "1.7976931348623157E308"
    with pytest.raises(InvalidRequest):
        wire.text_of(1.5)


def test_a_reader_says_where_a_message_is_too_short_or_too_long() -> None:
    reader = FieldReader(["3", "4"])
    assert (reader.integer("id"), reader.text("order")) == (3, "4")
    reader.finish()
    with pytest.raises(WireError, match="ends after 2 fields"):
        reader.text("price")
    with pytest.raises(WireError, match="2 fields too many, from 0 on"):
        FieldReader(["3", "4"]).finish()


@pytest.mark.parametrize("count", ["-1", "3", "1000000000"])
def test_a_count_beyond_the_fields_that_are_left_is_refused_before_any_loop(count: str) -> None:
    with pytest.raises(WireError, match="0 to 2"):
        FieldReader([count, "a", "b"]).count("legs")
