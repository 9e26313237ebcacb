#include "export_file.h"

#include <stdlib.h>
#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "structs are read as they lie in the file");

static const char TOO_SHORT[] = "the file ends in the middle of a record";

/* ------------------------------------------------------------------------------------------------ faults -- */

bool lk_export_fault(lk_export_fault_t *fault, const char *field, const char *rule, const char *value)
{
    fault->field = field;
    fault->rule = rule;
    (void)snprintf(fault->value, sizeof fault->value, "%s", value);
    return false;
}

bool lk_export_fault_number(lk_export_fault_t *fault, const char *field, const char *rule, uint64_t value)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    return lk_export_fault(fault, field, rule, text);
}

bool lk_export_fault_hash(lk_export_fault_t *fault, const char *field, const char *rule, const lk_hash_t *value)
{
    char text[2 * LK_EXPORT_HASH_BYTES + 1];
    lk_hash_text(value, text);
    return lk_export_fault(fault, field, rule, text);
}

void lk_hash_text(const lk_hash_t *hash, char text[2 * LK_EXPORT_HASH_BYTES + 1])
{
    static const char DIGITS[] = "0123456789abcdef";
    for (size_t i = 0; i < LK_EXPORT_HASH_BYTES; i++) {
        text[2 * i] = DIGITS[hash->bytes[i] >> 4];
        text[2 * i + 1] = DIGITS[hash->bytes[i] & 15u];
    }
    text[2 * LK_EXPORT_HASH_BYTES] = '\0';
}

bool lk_hash_is_same(const lk_hash_t *a, const lk_hash_t *b)
{
    return memcmp(a, b, sizeof *a) == 0;
}

bool lk_hash_is_zero(const lk_hash_t *hash)
{
    static const lk_hash_t ZERO;
    return lk_hash_is_same(hash, &ZERO);
}

const char *lk_export_kind_name(uint32_t kind)
{
#define LK_X(name) #name,
    static const char *const NAMES[] = {LK_EXPORT_RECORDS(LK_X)};
#undef LK_X
    return kind > 0 && kind < LK_EXPORT_RECORD_COUNT ? NAMES[kind] : "record";
}

/* ----------------------------------------------------------------------------------------------- records -- */

static bool read_bytes(lk_export_reader_t *reader, void *data, size_t size)
{
    size_t taken = size == 0 ? 0 : fread(data, 1, size, reader->file);
    reader->offset += taken;
    if (taken == size) return true;
    return lk_export_fault_number(&reader->fault, "file", TOO_SHORT, reader->offset);
}

bool lk_export_begin(lk_export_reader_t *reader, FILE *file)
{
    uint8_t start[LK_EXPORT_START_BYTES];
    uint32_t version;
    uint32_t reserved;
    memset(reader, 0, sizeof *reader);
    reader->file = file;
    if (!read_bytes(reader, start, sizeof start)) return false;
    if (memcmp(start, LK_EXPORT_MAGIC, 8) != 0) {
        return lk_export_fault(&reader->fault, "magic", "the file must begin with " LK_EXPORT_MAGIC, "something else");
    }
    memcpy(&version, start + 8, sizeof version);
    memcpy(&reserved, start + 12, sizeof reserved);
    if (version != LK_EXPORT_VERSION) {
        return lk_export_fault_number(&reader->fault, "format version", "this program reads version 1", version);
    }
    if (reserved != 0) return lk_export_fault_number(&reader->fault, "reserved", "must be 0", reserved);
    lk_blake2b(start, sizeof start, reader->check.bytes);
    return true;
}

void lk_export_end(lk_export_reader_t *reader)
{
    free(reader->payload);
    memset(reader, 0, sizeof *reader);
}

static bool take_room(lk_export_reader_t *reader, size_t size)
{
    if (size <= reader->payload_capacity) return true;
    uint8_t *grown = realloc(reader->payload, size);
    if (grown == NULL) return lk_export_fault_number(&reader->fault, "size", "there is no memory for it", size);
    reader->payload = grown;
    reader->payload_capacity = size;
    return true;
}

static void check_of(const lk_export_reader_t *reader, const uint8_t head[8], lk_hash_t *check)
{
    lk_blake2b_t hash;
    lk_blake2b_begin(&hash);
    lk_blake2b_add(&hash, reader->check.bytes, sizeof reader->check.bytes);
    lk_blake2b_add(&hash, head, 8);
    lk_blake2b_add(&hash, reader->payload, reader->payload_bytes);
    lk_blake2b_end(&hash, check->bytes);
}

bool lk_export_next(lk_export_reader_t *reader)
{
    uint8_t head[8];
    uint32_t kind;
    uint32_t size;
    lk_hash_t stated;
    lk_hash_t check;
    reader->record_offset = reader->offset;
    reader->kind = LK_EXPORT_NONE;
    if (!read_bytes(reader, head, sizeof head)) return false;
    memcpy(&kind, head, sizeof kind);
    memcpy(&size, head + 4, sizeof size);
    if (kind == LK_EXPORT_NONE || kind >= LK_EXPORT_RECORD_COUNT) {
        return lk_export_fault_number(&reader->fault, "kind", "must be one of the records of the format", kind);
    }
    if (size > LK_EXPORT_PAYLOAD_BYTES_MAX) {
        return lk_export_fault_number(&reader->fault, "size", "a record may have at most 64 MiB", size);
    }
    reader->kind = (lk_export_kind_t)kind;
    reader->payload_bytes = size;
    if (!take_room(reader, size)) return false;
    if (!read_bytes(reader, reader->payload, size) || !read_bytes(reader, &stated, sizeof stated)) return false;
    check_of(reader, head, &check);
    if (!lk_hash_is_same(&check, &stated)) {
        return lk_export_fault_hash(&reader->fault, "check",
                                    "must be what the bytes up to it come to: they were changed", &stated);
    }
    reader->check = check;
    return true;
}

bool lk_export_at_end(lk_export_reader_t *reader)
{
    if (fgetc(reader->file) == EOF) return true;
    return lk_export_fault_number(&reader->fault, "file", "must end with its trailer", reader->offset);
}

/* -------------------------------------------------------------------------------------------------- fields -- */

/* Reads fields in order; every read is inside the payload, or the cursor is spent. */
typedef struct {
    const uint8_t *data;
    size_t left;
    bool is_short;
} cursor_t;

static cursor_t cursor_of(const lk_export_reader_t *reader)
{
    return (cursor_t){reader->payload, reader->payload_bytes, false};
}

static void take(cursor_t *cursor, void *target, size_t size)
{
    memset(target, 0, size);
    if (size > cursor->left) {
        cursor->is_short = true;
        cursor->left = 0;
        return;
    }
    memcpy(target, cursor->data, size);
    cursor->data += size;
    cursor->left -= size;
}

static uint32_t take_u32(cursor_t *cursor)
{
    uint32_t value;
    take(cursor, &value, sizeof value);
    return value;
}

static uint64_t take_u64(cursor_t *cursor)
{
    uint64_t value;
    take(cursor, &value, sizeof value);
    return value;
}

static int64_t take_i64(cursor_t *cursor)
{
    int64_t value;
    take(cursor, &value, sizeof value);
    return value;
}

/* Printable, without blanks, and NUL behind it. */
static bool is_text(const char *text, size_t size)
{
    size_t length = 0;
    while (length < size && text[length] > ' ' && text[length] <= '~')
        length++;
    for (size_t i = length; i < size; i++) {
        if (text[i] != '\0') return false;
    }
    return true;
}

static bool right_size(lk_export_reader_t *reader, const cursor_t *cursor)
{
    if (!cursor->is_short && cursor->left == 0) return true;
    return lk_export_fault_number(&reader->fault, "size", "must be that of a record of this kind",
                                  reader->payload_bytes);
}

static bool whole_head(lk_export_reader_t *reader, const cursor_t *cursor)
{
    if (!cursor->is_short) return true;
    return lk_export_fault_number(&reader->fault, "size", "a record of this kind must be larger",
                                  reader->payload_bytes);
}

bool lk_export_read_header(lk_export_reader_t *reader, lk_export_header_t *header)
{
    lk_export_fault_t *fault = &reader->fault;
    cursor_t cursor = cursor_of(reader);
    memset(header, 0, sizeof *header);
    header->abi_version = take_u32(&cursor);
    header->config_bytes = take_u32(&cursor);
    header->input_bytes = take_u32(&cursor);
    header->partition = take_u32(&cursor);
    header->flags = take_u32(&cursor);
    header->save_version = take_u32(&cursor);
    header->first_sequence = take_u64(&cursor);
    header->exported_at_ns = take_i64(&cursor);
    take(&cursor, &header->previous_hash, sizeof header->previous_hash);
    take(&cursor, &header->stream, sizeof header->stream);
    take(&cursor, &header->account, sizeof header->account);
    take(&cursor, header->libkernel_version, sizeof header->libkernel_version);

    if (!right_size(reader, &cursor)) return false;
    if (header->abi_version != LK_ABI_VERSION) {
        return lk_export_fault_number(
            fault, "ABI version", "must be that of this build: take lk-replay of that version", header->abi_version);
    }
    if (header->config_bytes != sizeof(lk_config_t)) {
        return lk_export_fault_number(fault, "config size", "must be sizeof(lk_config_t)", header->config_bytes);
    }
    if (header->input_bytes != sizeof(lk_input_t)) {
        return lk_export_fault_number(fault, "input size", "must be sizeof(lk_input_t)", header->input_bytes);
    }
    if (header->save_version != LK_SAVE_VERSION) {
        return lk_export_fault_number(fault, "save version", "must be that of this build: digests are of its form",
                                      header->save_version);
    }
    if ((header->flags & ~LK_EXPORT_FLAGS_ALL) != 0) {
        return lk_export_fault_number(fault, "flags", "only those of the format may be set", header->flags);
    }
    if (header->first_sequence == 0 || header->first_sequence == UINT64_MAX) {
        return lk_export_fault_number(fault, "first sequence", "must be 1 or more", header->first_sequence);
    }
    if ((header->first_sequence == 1) != lk_hash_is_zero(&header->previous_hash)) {
        return lk_export_fault_hash(fault, "previous hash", "must be 0 before entry 1, and only there",
                                    &header->previous_hash);
    }
    if (!is_text(header->stream.text, sizeof header->stream) ||
        !is_text(header->account.text, sizeof header->account) ||
        !is_text(header->libkernel_version, sizeof header->libkernel_version)) {
        return lk_export_fault(fault, "stream, account, version", "must be printable and without blanks",
                               "other bytes");
    }
    return true;
}

bool lk_export_read_account(lk_export_reader_t *reader, uint64_t *sequence, lk_config_t *config)
{
    cursor_t cursor = cursor_of(reader);
    *sequence = take_u64(&cursor);
    take(&cursor, config, sizeof *config);
    return right_size(reader, &cursor);
}

bool lk_export_read_state(lk_export_reader_t *reader, uint64_t *sequence, lk_hash_t *digest, lk_id_t *account,
                          const uint8_t **saved, size_t *saved_bytes)
{
    cursor_t cursor = cursor_of(reader);
    *sequence = take_u64(&cursor);
    take(&cursor, digest, sizeof *digest);
    take(&cursor, account, sizeof *account);
    *saved = cursor.data;
    *saved_bytes = cursor.left;
    if (!whole_head(reader, &cursor)) return false;
    if (account->text[0] != '\0' && is_text(account->text, sizeof *account)) return true;
    return lk_export_fault(&reader->fault, "account", "must be printable and without blanks", "other bytes");
}

static void take_own(cursor_t *cursor, lk_export_kind_t kind, lk_export_entry_t *entry)
{
    if (kind == LK_EXPORT_EPOCH) entry->epoch = take_u64(cursor);
    if (kind == LK_EXPORT_INPUT) {
        take(cursor, &entry->digest, sizeof entry->digest);
        entry->code = take_u32(cursor);
        entry->accepted = take_u32(cursor);
        take(cursor, &entry->input, sizeof entry->input);
    }
    entry->stored = cursor->data;
    entry->stored_bytes = cursor->left;
}

bool lk_export_read_entry(lk_export_reader_t *reader, const lk_export_header_t *header, lk_export_entry_t *entry)
{
    lk_export_fault_t *fault = &reader->fault;
    cursor_t cursor = cursor_of(reader);
    memset(entry, 0, sizeof *entry);
    entry->sequence = take_u64(&cursor);
    entry->input_sequence = take_u64(&cursor);
    entry->input_time_ns = take_i64(&cursor);
    take(&cursor, &entry->hash, sizeof entry->hash);
    take(&cursor, &entry->previous_hash, sizeof entry->previous_hash);
    take(&cursor, &entry->account, sizeof entry->account);
    take_own(&cursor, reader->kind, entry);

    bool is_omitted = reader->kind == LK_EXPORT_OMITTED;
    bool has_stored = !is_omitted && (header->flags & LK_EXPORT_HAS_ENTRIES) != 0;
    if (!whole_head(reader, &cursor)) return false;
    if ((entry->stored_bytes != 0) != has_stored) {
        return lk_export_fault_number(fault, "stored entry", "must be there if the header says so, and only then",
                                      entry->stored_bytes);
    }
    if (!is_text(entry->account.text, sizeof entry->account) || (entry->account.text[0] == '\0') != is_omitted) {
        return lk_export_fault(fault, "account", "must be printable and without blanks, and empty if omitted",
                               "other bytes");
    }
    if (entry->accepted > 1) return lk_export_fault_number(fault, "accepted", "must be 0 or 1", entry->accepted);
    if (entry->code >= LK_CODE_COUNT) {
        return lk_export_fault_number(fault, "code", "must be one of libkernel's codes", entry->code);
    }
    return true;
}

bool lk_export_read_trailer(lk_export_reader_t *reader, lk_export_trailer_t *trailer)
{
    cursor_t cursor = cursor_of(reader);
    trailer->entry_count = take_u64(&cursor);
    trailer->input_count = take_u64(&cursor);
    trailer->account_count = take_u64(&cursor);
    trailer->last_sequence = take_u64(&cursor);
    take(&cursor, &trailer->last_hash, sizeof trailer->last_hash);
    return right_size(reader, &cursor);
}
