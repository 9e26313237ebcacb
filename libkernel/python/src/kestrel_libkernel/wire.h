/* A record of the library as a protobuf message.
 *
 * A table says which field of a struct becomes which field of a message, so that no value has to become an object of
 * Python's in between: an account with its forty fields takes half a microsecond instead of forty. Nothing here knows a
 * message; whoever has the contracts writes the table (kestrel_kernel.core.views).
 */
#ifndef LKPY_WIRE_H
#define LKPY_WIRE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "lk/lk.h"

/* A number, left out when it is 0. */
#define LKPY_NUMBER 1u
/* A text padded with NUL, left out when it is empty. */
#define LKPY_TEXT 2u
/* An int64 of units and a scale, as a message of its own: { 1: units, 2: scale }. */
#define LKPY_DECIMAL 3u
/* The next `value` fields, as a message of its own. They hold no further one. */
#define LKPY_MESSAGE 4u
/* uint16 numbers, packed, without those that are 0. */
#define LKPY_LIST 5u
/* `value`, whatever the record says: for what only a condition decides. */
#define LKPY_CONSTANT 6u
/* A byte looked up in the words of the table, from `value` on; left out when that says 0. */
#define LKPY_WORD 7u
/* A uint32 place, left out when it is 0 or LK_NO_SLOT. */
#define LKPY_PLACE 8u
/* The names of the bits that are set in a byte, with ", " between; they stand in the words of the table, from `value` on,
 * lowest bit first, each behind its length. Left out when no bit is. */
#define LKPY_NAMES 9u

#define LKPY_ALWAYS 0u
#define LKPY_IF 1u
#define LKPY_UNLESS 2u

/* One field. The condition is about `test_bytes` bytes from test_at on, each seen through test_mask: is one not 0? */
typedef struct {
    uint32_t kind;
    uint32_t number; /* in the message */
    uint32_t at;     /* in the record */
    uint32_t bytes;  /* there */
    uint32_t value;
    uint32_t scale_at;    /* DECIMAL: the byte with the scale */
    uint32_t scale_more;  /* DECIMAL: added to that byte; with scale_bytes 0 the scale itself */
    uint32_t scale_bytes; /* 1, or 0 */
    uint32_t test;        /* ALWAYS, IF or UNLESS */
    uint32_t test_at;
    uint32_t test_bytes;
    uint32_t test_mask;
} lkpy_field_t;

/* Where messages are written to. Once `room` would not have been enough, nothing is written any more. */
typedef struct {
    uint8_t *data;
    size_t end;
    size_t room;
    uint32_t is_full;
} lkpy_wire_t;

/* All of it, or nothing any more. */
static void lkpy_put(lkpy_wire_t *wire, const void *bytes, size_t count)
{
    if (wire->is_full || wire->room - wire->end < count) {
        wire->is_full = 1;
        return;
    }
    memcpy(wire->data + wire->end, bytes, count);
    wire->end += count;
}

static void lkpy_put_varint(lkpy_wire_t *wire, uint64_t value)
{
    uint8_t bytes[10];
    size_t count = 0;

    for (; value > 0x7fu; value >>= 7) {
        bytes[count++] = (uint8_t)(value & 0x7fu) | 0x80u;
    }
    bytes[count++] = (uint8_t)value;
    lkpy_put(wire, bytes, count);
}

static void lkpy_put_number(lkpy_wire_t *wire, uint32_t number, uint64_t value)
{
    if (value == 0) return;
    lkpy_put_varint(wire, (uint64_t)number << 3);
    lkpy_put_varint(wire, value);
}

/* What was written from `begin` on becomes one field: tag and length go in front of it. */
static void lkpy_enclose(lkpy_wire_t *wire, uint32_t number, size_t begin)
{
    uint8_t head[20];
    lkpy_wire_t front = {head, 0, sizeof head, 0};
    size_t bytes = wire->end - begin;

    lkpy_put_varint(&front, (uint64_t)number << 3 | 2u);
    lkpy_put_varint(&front, bytes);
    lkpy_put(wire, head, front.end); /* for its room */
    if (wire->is_full) return;
    memmove(wire->data + begin + front.end, wire->data + begin, bytes);
    memcpy(wire->data + begin, head, front.end);
}

static uint64_t lkpy_get(const char *record, uint32_t at, uint32_t bytes)
{
    uint64_t uint64;
    uint32_t uint32;
    uint16_t uint16;

    switch (bytes) {
    case sizeof uint64:
        memcpy(&uint64, record + at, sizeof uint64);
        return uint64;
    case sizeof uint32:
        memcpy(&uint32, record + at, sizeof uint32);
        return uint32;
    case sizeof uint16:
        memcpy(&uint16, record + at, sizeof uint16);
        return uint16;
    default:
        return (uint8_t)record[at];
    }
}

static int lkpy_is_wanted(const char *record, const lkpy_field_t *field)
{
    int found = 0;

    if (field->test == LKPY_ALWAYS) return 1;
    for (uint32_t i = 0; i < field->test_bytes; i++) {
        if ((uint8_t)record[field->test_at + i] & field->test_mask) found = 1;
    }
    return field->test == LKPY_IF ? found : !found;
}

static void lkpy_put_text(lkpy_wire_t *wire, const char *record, const lkpy_field_t *field)
{
    size_t begin = wire->end;
    uint32_t count = 0;

    while (count < field->bytes && record[field->at + count] != 0) count++;
    if (count == 0) return;
    lkpy_put(wire, record + field->at, count);
    lkpy_enclose(wire, field->number, begin);
}

static void lkpy_put_decimal(lkpy_wire_t *wire, const char *record, const lkpy_field_t *field)
{
    size_t begin = wire->end;
    uint64_t scale = field->scale_more;

    if (field->scale_bytes) scale += lkpy_get(record, field->scale_at, field->scale_bytes);
    lkpy_put_number(wire, 1, lkpy_get(record, field->at, sizeof(int64_t)));
    lkpy_put_number(wire, 2, scale);
    lkpy_enclose(wire, field->number, begin);
}

static void lkpy_put_list(lkpy_wire_t *wire, const char *record, const lkpy_field_t *field)
{
    size_t begin = wire->end;

    for (uint32_t i = 0; i < field->bytes; i += sizeof(uint16_t)) {
        uint64_t each = lkpy_get(record, field->at + i, sizeof(uint16_t));
        if (each != 0) lkpy_put_varint(wire, each);
    }
    if (wire->end > begin) lkpy_enclose(wire, field->number, begin);
}

static void lkpy_put_names(lkpy_wire_t *wire, const char *record, const lkpy_field_t *field, const char *words)
{
    size_t begin = wire->end;
    const char *name = words + field->value;

    for (unsigned bits = (uint8_t)record[field->at]; bits != 0; bits >>= 1) {
        size_t count = (uint8_t)name[0];
        if (bits & 1u) {
            if (wire->end > begin) lkpy_put(wire, ", ", 2);
            lkpy_put(wire, name + 1, count);
        }
        name += count + 1;
    }
    if (wire->end > begin) lkpy_enclose(wire, field->number, begin);
}

static void lkpy_put_field(lkpy_wire_t *wire, const char *record, const lkpy_field_t *field, const char *words)
{
    switch (field->kind) {
    case LKPY_TEXT:
        lkpy_put_text(wire, record, field);
        break;
    case LKPY_DECIMAL:
        lkpy_put_decimal(wire, record, field);
        break;
    case LKPY_LIST:
        lkpy_put_list(wire, record, field);
        break;
    case LKPY_CONSTANT:
        lkpy_put_number(wire, field->number, field->value);
        break;
    case LKPY_WORD:
        lkpy_put_number(wire, field->number, (uint8_t)words[field->value + (uint8_t)record[field->at]]);
        break;
    case LKPY_PLACE:
        if (lkpy_get(record, field->at, sizeof(uint32_t)) == LK_NO_SLOT) break;
        lkpy_put_number(wire, field->number, lkpy_get(record, field->at, sizeof(uint32_t)));
        break;
    case LKPY_NAMES:
        lkpy_put_names(wire, record, field, words);
        break;
    default:
        lkpy_put_number(wire, field->number, lkpy_get(record, field->at, field->bytes));
    }
}

/* The fields of a table, in its order. */
static void lkpy_write_fields(lkpy_wire_t *wire, const char *record, const lkpy_field_t *fields, size_t count,
                              const char *words)
{
    size_t begin = 0;    /* of the message inside that is open */
    size_t end = 0;      /* the first field behind it */
    uint32_t number = 0; /* its own; 0: none is open */

    for (size_t i = 0; i < count; i++) {
        const lkpy_field_t *field = &fields[i];
        int is_wanted = lkpy_is_wanted(record, field);
        if (field->kind == LKPY_MESSAGE && is_wanted) {
            begin = wire->end;
            end = i + 1 + field->value;
            number = field->number;
        } else if (field->kind == LKPY_MESSAGE) {
            i += field->value;
        } else if (is_wanted) {
            lkpy_put_field(wire, record, field, words);
        }
        if (number != 0 && i + 1 == end) {
            lkpy_enclose(wire, number, begin);
            number = 0;
        }
    }
}

#endif
