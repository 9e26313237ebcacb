"""Records written as protobuf messages, read back by protobuf."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from kestrel_libkernel import Side, Tick, wire
from kestrel_libkernel.layout import places
from kestrel_libkernel.model import EventKind

FIELDS = descriptor_pb2.FieldDescriptorProto
EVENT = "lk_event_t"
SIZE = 4096


def _message_class() -> Any:
    """``Thing { uint32 number=1; string text=2; Decimal decimal=3; Inside inside=4; repeated uint32 row=5; }``"""
    file = descriptor_pb2.FileDescriptorProto(name="thing.proto", package="thing", syntax="proto3")
    decimal = file.message_type.add(name="Decimal")
    decimal.field.add(name="units", number=1, type=FIELDS.TYPE_INT64, label=FIELDS.LABEL_OPTIONAL)
    decimal.field.add(name="scale", number=2, type=FIELDS.TYPE_INT32, label=FIELDS.LABEL_OPTIONAL)
    thing = file.message_type.add(name="Thing")
    optional, message = FIELDS.LABEL_OPTIONAL, FIELDS.TYPE_MESSAGE
    thing.field.add(name="number", number=1, type=FIELDS.TYPE_UINT32, label=optional)
    thing.field.add(name="text", number=2, type=FIELDS.TYPE_STRING, label=optional)
    thing.field.add(name="decimal", number=3, type=message, type_name=".thing.Decimal", label=optional)
    thing.field.add(name="inside", number=300, type=message, type_name=".thing.Thing", label=optional)
    thing.field.add(name="row", number=5, type=FIELDS.TYPE_UINT32, label=FIELDS.LABEL_REPEATED)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("thing.Thing"))


Thing = _message_class()


def raw_event(**values: Any) -> bytes:
    raw = bytearray(SIZE)
    for name, value in values.items():
        place = places(EVENT)[name]
        data = value.encode().ljust(place.size, b"\0") if place.is_text else struct.pack(f"={place.letters}", value)
        raw[place.offset : place.offset + place.size] = data
    return bytes(raw)


def written(field: wire.Field, more: bytes = b"", **values: Any) -> Any:
    return Thing.FromString(wire.Writer(EVENT, 0, [field]).write(raw_event(**values), more))


@pytest.mark.parametrize("value", [0, 1, 127, 128, 2**32 - 1])
def test_a_number_is_what_it_was(value: int) -> None:
    assert written(wire.number("leverage", 1), leverage=value).number == value


@pytest.mark.parametrize("value", ["", "x", "t" * 64])
def test_a_text_ends_at_its_padding_or_fills_its_place(value: str) -> None:
    assert written(wire.text("trade_id", 2), trade_id=value).text == value


@pytest.mark.parametrize("units", [0, 1, -1, 2**63 - 1, -(2**63)])
def test_a_decimal_is_there_even_when_it_is_nothing(units: int) -> None:
    thing = written(wire.decimal("price", 3, scale="price_scale", more=4), price=units, price_scale=2)
    assert thing.HasField("decimal")
    assert (thing.decimal.units, thing.decimal.scale) == (units, 6)


def test_a_condition_looks_through_its_mask() -> None:
    field = wire.constant(7, 1).when("flags", mask=4)
    assert [written(field, flags=flags).number for flags in (0, 3, 4, 255)] == [0, 0, 7, 7]
    assert [written(wire.constant(7, 1).unless("flags"), flags=flags).number for flags in (0, 3)] == [7, 0]


def test_a_word_is_looked_up_and_a_place_may_be_none() -> None:
    assert [written(wire.word("side", 1, [0, 30, 20]), side=side).number for side in range(3)] == [0, 30, 20]
    none = 2**32 - 1
    assert [written(wire.place("slot_index", 1), slot_index=at).number for at in (0, 5, none)] == [0, 5, 0]


def test_bits_that_are_set_are_named_with_commas_between() -> None:
    field = wire.names("flags", 2, ["ONE", "TWO", "FOUR"])
    assert [written(field, flags=flags).text for flags in (0, 1, 2, 7, 8)] == ["", "ONE", "TWO", "ONE, TWO, FOUR", ""]


def test_a_message_inside_closes_behind_its_last_field_and_is_left_out_whole() -> None:
    inside = [wire.text("client_order_id", 2), wire.decimal("qty", 3, scale="qty_scale")]
    fields = [wire.message(300, inside).when("kind"), wire.number("leverage", 1)]
    writer = wire.Writer(EVENT, 0, fields)
    thing = Thing.FromString(writer.write(raw_event(kind=1, client_order_id="o" * 60, qty=-5, leverage=9)))
    assert (thing.inside.text, thing.inside.decimal.units, thing.number) == ("o" * 60, -5, 9)
    thing = Thing.FromString(writer.write(raw_event(kind=0, client_order_id="o", qty=5, leverage=9)))
    assert (thing.HasField("inside"), thing.number) == (False, 9)


def test_a_row_is_packed_without_its_zeros() -> None:
    writer = wire.Writer("lk_slot_view_t", 0, [wire.numbers("exit_leg_bps", 5)])
    raw = bytearray(SIZE)
    place = places("lk_slot_view_t")["exit_leg_bps"]
    raw[place.offset : place.offset + 6] = struct.pack("=3H", 2500, 0, 10_000)
    assert list(Thing.FromString(writer.write(bytes(raw))).row) == [2500, 10_000]


def test_a_record_becomes_a_field_of_another_message_with_more_behind_it() -> None:
    writer = wire.Writer(EVENT, 300, [wire.number("leverage", 1)])
    more = Thing(text="more").SerializeToString()
    thing = Thing.FromString(writer.write(raw_event(leverage=3), more))
    assert thing.inside == Thing(number=3, text="more")


def test_what_has_no_room_is_refused_and_a_field_that_is_none_too() -> None:
    writer = wire.Writer(EVENT, 300, [wire.number("leverage", 1)])
    with pytest.raises(ValueError, match="more than"):
        writer.write(raw_event(), b"x" * 5000)
    assert Thing.FromString(writer.write(raw_event(leverage=1))).inside.number == 1
    with pytest.raises(KeyError):
        wire.Writer(EVENT, 1, [wire.number("nothing", 1)])


def test_what_an_input_left_behind_is_written_kind_by_kind_and_then_the_state(desk: Any) -> None:
    """Fields as in a journal entry: 11 transitions, 12 fills with their slot's symbol, 14 slots, 15 account."""
    writers = {
        EventKind.FILL_BOOKED: wire.Writer(
            wire.EVENT_IN_SLOT, 12, [wire.text("event.execution_id", 1), wire.text("slot.symbol", 2)]
        ),
        EventKind.TRANSITION: wire.Writer(wire.EVENT_IN_SLOT, 11, [wire.text("event.trade_id", 1)]),
    }
    slot = wire.Writer("lk_slot_view_t", 14, [wire.text("trade_id", 1)])
    account = wire.Writer("lk_account_view_t", 15, [wire.text("account", 1)])
    aftermath = desk.kernel.aftermath(writers, slot, account, 16)

    desk.enter()
    in_account = b"\x7a\x08\x0a\x06TEST-1" + b"\x82\x01\x20"
    in_slot = b"\x72\x07\x0a\x05trade"
    assert aftermath.write() == (b"\x5a\x07\x0a\x05trade", in_slot + in_account + desk.kernel.digest())
    desk.fill("entry", "E-1", Side.BUY, 4, 1878)
    moved, filled = b"\x5a\x07\x0a\x05trade", b"\x62\x0f\x0a\x03E-1\x12\x08FET-USDT"
    assert aftermath.write() == (moved + filled, in_slot + in_account + desk.kernel.digest())
    desk.do(Tick)
    assert aftermath.write() == (b"", in_account + desk.kernel.digest())
