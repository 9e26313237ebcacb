#include "stored_entry.h"

#include <string.h>

typedef struct {
    uint64_t number;
    uint64_t value;   /* of a varint */
    lk_bytes_t bytes; /* of a length-delimited field */
} field_t;

enum { VARINT = 0, FIXED64 = 1, DELIMITED = 2, FIXED32 = 5 };

static bool take_varint(lk_bytes_t *rest, uint64_t *value)
{
    *value = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        if (rest->size == 0) return false;
        uint8_t byte = *rest->data++;
        rest->size--;
        if (shift < 64) *value |= (uint64_t)(byte & 0x7fu) << shift;
        if ((byte & 0x80u) == 0) return true;
    }
    return false;
}

static bool take_bytes(lk_bytes_t *rest, uint64_t size, lk_bytes_t *bytes)
{
    if (size > rest->size) return false;
    *bytes = (lk_bytes_t){rest->data, (size_t)size};
    rest->data += size;
    rest->size -= (size_t)size;
    return true;
}

static bool take_field(lk_bytes_t *rest, field_t *field)
{
    uint64_t tag;
    uint64_t size;
    memset(field, 0, sizeof *field);
    if (!take_varint(rest, &tag)) return false;
    field->number = tag >> 3;
    if (field->number == 0) return false;
    switch (tag & 7u) {
    case VARINT:
        return take_varint(rest, &field->value);
    case FIXED64:
        return take_bytes(rest, 8, &field->bytes);
    case FIXED32:
        return take_bytes(rest, 4, &field->bytes);
    case DELIMITED:
        return take_varint(rest, &size) && take_bytes(rest, size, &field->bytes);
    default:
        return false;
    }
}

static bool read_outcome(lk_bytes_t rest, lk_stored_entry_t *entry)
{
    field_t field;
    while (rest.size > 0) {
        if (!take_field(&rest, &field)) return false;
        if (field.number == 1) entry->accepted = field.value != 0;
        if (field.number == 2) entry->code = field.bytes;
    }
    return true;
}

static bool note(const field_t *field, lk_stored_entry_t *entry)
{
    switch (field->number) {
    case 1:
        entry->partition = field->value;
        return true;
    case 2:
        entry->account = field->bytes;
        return true;
    case 3:
        entry->epoch = field->value;
        return true;
    case 4:
        entry->input_sequence = field->value;
        return true;
    case 5:
        memcpy(&entry->input_time_ns, &field->value, sizeof entry->input_time_ns);
        return true;
    case 8:
        entry->has_epoch_started = true;
        return true;
    case 9:
        return read_outcome(field->bytes, entry);
    case 16:
        entry->state_digest = field->bytes;
        return true;
    case 17:
        entry->previous_hash = field->bytes;
        return true;
    default:
        return true;
    }
}

bool lk_stored_entry_read(const uint8_t *data, size_t size, lk_stored_entry_t *entry)
{
    lk_bytes_t rest = {data, size};
    field_t field;
    memset(entry, 0, sizeof *entry);
    while (rest.size > 0) {
        if (!take_field(&rest, &field) || !note(&field, entry)) return false;
    }
    return true;
}
