/* A journal entry's stored bytes: as much of kestrel.kernel.v1.JournalEntry as a check needs.
 *
 * The bytes are a protobuf message: fields, each a number with a wire type (varint), then a varint, 4 or 8 bytes, or a
 * length and so many bytes. Of a field given twice the last counts, as everywhere in protobuf.
 */
#ifndef LK_REPLAY_STORED_ENTRY_H
#define LK_REPLAY_STORED_ENTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes inside the stored entry. */
typedef struct {
    const uint8_t *data;
    size_t size;
} lk_bytes_t;

typedef struct {
    uint64_t partition;       /* field 1 */
    lk_bytes_t account;       /* 2 */
    uint64_t epoch;           /* 3 */
    uint64_t input_sequence;  /* 4 */
    int64_t input_time_ns;    /* 5 */
    bool has_epoch_started;   /* 8 */
    bool accepted;            /* 9.1 */
    lk_bytes_t code;          /* 9.2 */
    lk_bytes_t state_digest;  /* 16 */
    lk_bytes_t previous_hash; /* 17 */
} lk_stored_entry_t;

/* false: the bytes are not a protobuf message. Pointers of *entry are into data. */
bool lk_stored_entry_read(const uint8_t *data, size_t size, lk_stored_entry_t *entry);

#endif
