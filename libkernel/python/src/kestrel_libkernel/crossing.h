/* What the Python binding asks of C beside lk.h: each crossing does all that one call of Python needs.
 *
 * A crossing costs some 100 ns whatever it does, most of it cffi letting go of Python's global lock and taking it back
 * (there is no switch for that). So an answer comes in one piece: the outcome, and right behind it its events.
 */
#ifndef LKPY_CROSSING_H
#define LKPY_CROSSING_H

#include "lk/lk.h"
#include "read.h"
#include "wire.h"

/* Where the answer to one input of a batch ends in the answers, and what most callers ask of it. */
typedef struct {
    uint32_t end;
    uint16_t code;
    uint8_t accepted;
    uint8_t reserved;
} lkpy_answer_t;

/* A kernel with the memory for one answer: an lk_outcome_t and room for event_capacity events behind it, aligned for
 * int64. One argument instead of three: cffi takes longer to check each than the kernel to find a slot. */
typedef struct {
    lk_kernel_t *kernel;
    char *answer;
    size_t event_capacity;
} lkpy_room_t;

static int64_t lkpy_answer(const lkpy_room_t *room, const char *input, char *answer)
{
    lk_outcome_t *outcome = (lk_outcome_t *)(void *)answer;
    lk_event_t *events = (lk_event_t *)(void *)(answer + sizeof *outcome);
    lk_status_t status =
        lk_kernel_apply(room->kernel, (const lk_input_t *)(const void *)input, outcome, events, room->event_capacity);

    if (status != LK_STATUS_OK) return -(int64_t)status;
    return (int64_t)(sizeof *outcome + outcome->event_count * sizeof *events);
}

/* Apply one lk_input_t. The answer is in room->answer; returns its bytes, or minus an lk_status_t. */
static int64_t lkpy_apply(const lkpy_room_t *room, const char *input)
{
    return lkpy_answer(room, input, room->answer);
}

/* Apply inputs in order, until all are applied or answers might not hold the next one's answer; digests: 32 bytes for
 * each, or NULL. Returns how many were applied, or minus the lk_status_t of the first. */
static int64_t lkpy_apply_batch(const lkpy_room_t *room, const char *inputs, size_t input_count, char *answers,
                                size_t answers_bytes, lkpy_answer_t *index, char *digests)
{
    size_t answer_bytes_max = sizeof(lk_outcome_t) + room->event_capacity * sizeof(lk_event_t);
    size_t end = 0;
    size_t i;

    for (i = 0; i < input_count && answers_bytes - end >= answer_bytes_max; i++) {
        const lk_outcome_t *outcome = (const lk_outcome_t *)(const void *)(answers + end);
        int64_t bytes = lkpy_answer(room, inputs + i * sizeof(lk_input_t), answers + end);
        if (bytes < 0) return i == 0 ? bytes : (int64_t)i;
        end += (size_t)bytes;
        index[i] = (lkpy_answer_t){(uint32_t)end, (uint16_t)outcome->code, outcome->accepted, 0};
        if (digests == NULL) continue;
        lk_status_t status = lk_kernel_digest(room->kernel, (uint8_t *)digests + i * LK_DIGEST_BYTES);
        if (status != LK_STATUS_OK) return -(int64_t)status;
    }
    return (int64_t)i;
}

/* How records of one struct become field `number` of a message, or with 0 a message of their own: field_count
 * lkpy_field_t (see wire.h), and a place for what is written. The memory is the caller's. */
typedef struct {
    const uint32_t *fields;
    size_t field_count;
    const char *words;
    char *out;
    size_t room;
    uint32_t number;
    uint32_t reserved;
} lkpy_writer_t;

static void lkpy_add(lkpy_wire_t *wire, const lkpy_writer_t *writer, const char *record, const char *more,
                     size_t more_bytes)
{
    size_t begin = wire->end;

    lkpy_write_fields(wire, record, (const lkpy_field_t *)(const void *)writer->fields, writer->field_count,
                      writer->words);
    if (more_bytes != 0) lkpy_put(wire, more, more_bytes);
    if (writer->number != 0) lkpy_enclose(wire, writer->number, begin);
}

/* Write a record, and more_bytes of further fields behind its own. Returns the bytes in writer->out, or -1 when there is
 * no room for them. */
static int64_t lkpy_write(const lkpy_writer_t *writer, const char *record, const char *more, size_t more_bytes)
{
    lkpy_wire_t wire = {(uint8_t *)writer->out, 0, writer->room, 0};

    lkpy_add(&wire, writer, record, more, more_bytes);
    return wire.is_full ? -1 : (int64_t)wire.end;
}

/* An event beside its slot, as the slot is after the input: one record, so that a message can be made of both. */
typedef struct {
    lk_event_t event;
    lk_slot_view_t slot;
} lkpy_event_in_slot_t;

/* Who writes what an input left behind, and where to: `events` by kind, each a writer of lkpy_event_in_slot_t, or NULL
 * for kinds that somebody else writes; the digest is field `digest_number`, or with 0 left out. After a call `state` says
 * where in `out` the events end and slots, account and digest begin. The memory is the caller's. */
typedef struct {
    const lkpy_room_t *room;
    const lkpy_writer_t *events[16];
    const lkpy_writer_t *slot;
    const lkpy_writer_t *account;
    char *out;
    size_t out_bytes;
    size_t state;
    uint32_t digest_number;
    uint32_t reserved;
} lkpy_aftermath_t;

static void lkpy_add_events(lkpy_wire_t *wire, const lkpy_aftermath_t *aftermath, const lkpy_writer_t *writer,
                            uint8_t kind)
{
    const lk_outcome_t *outcome = (const lk_outcome_t *)(const void *)aftermath->room->answer;
    const lk_event_t *events = (const lk_event_t *)(const void *)(outcome + 1);
    lkpy_event_in_slot_t record;

    for (size_t i = 0; i < outcome->event_count; i++) {
        if (events[i].kind != kind) continue;
        record.event = events[i];
        if (lk_kernel_slot(aftermath->room->kernel, events[i].slot_index, &record.slot) != LK_STATUS_OK) {
            memset(&record.slot, 0, sizeof record.slot);
        }
        lkpy_add(wire, writer, (const char *)&record, NULL, 0);
    }
}

static void lkpy_add_state(lkpy_wire_t *wire, const lkpy_aftermath_t *aftermath)
{
    const lk_outcome_t *outcome = (const lk_outcome_t *)(const void *)aftermath->room->answer;
    lk_kernel_t *kernel = aftermath->room->kernel;
    lk_slot_view_t slot;
    lk_account_view_t account;
    uint8_t digest[LK_DIGEST_BYTES];

    for (uint32_t i = 0; i < LK_SLOTS_MAX; i++) {
        if ((outcome->changed_slots[i / 64] >> (i % 64) & 1u) == 0) continue;
        if (lk_kernel_slot(kernel, i, &slot) != LK_STATUS_OK) continue;
        lkpy_add(wire, aftermath->slot, (const char *)&slot, NULL, 0);
    }
    if (lk_kernel_account(kernel, &account) != LK_STATUS_OK) return;
    lkpy_add(wire, aftermath->account, (const char *)&account, NULL, 0);
    if (aftermath->digest_number == 0 || lk_kernel_digest(kernel, digest) != LK_STATUS_OK) return;
    size_t begin = wire->end;
    lkpy_put(wire, digest, sizeof digest);
    lkpy_enclose(wire, aftermath->digest_number, begin);
}

/* Write what the input left behind that was applied last, whose answer is still in the room: its events, kind by kind
 * and within a kind in their order; then the slots that changed, the account and the digest. Returns the bytes in
 * aftermath->out, or -1 when there is no room for them. */
static int64_t lkpy_write_aftermath(lkpy_aftermath_t *aftermath)
{
    lkpy_wire_t wire = {(uint8_t *)aftermath->out, 0, aftermath->out_bytes, 0};

    for (uint8_t kind = 0; kind < LK_EVENT_COUNT; kind++) {
        if (aftermath->events[kind] != NULL) lkpy_add_events(&wire, aftermath, aftermath->events[kind], kind);
    }
    aftermath->state = wire.end;
    lkpy_add_state(&wire, aftermath);
    return wire.is_full ? -1 : (int64_t)wire.end;
}

_Static_assert(offsetof(lkpy_event_in_slot_t, slot) == sizeof(lk_event_t), "the bytes of both, one behind the other");
_Static_assert(LK_EVENT_COUNT <= 16, "lkpy_aftermath_t has a place for each kind of event");

/* How a message becomes an input: row_count lkpy_row_t (see read.h), LKPY_READ_ROWS_MAX at most; which of them must be
 * there, a bit for each; and the lk_input_t that they are read into. The memory is the caller's. */
typedef struct {
    const uint32_t *rows;
    size_t row_count;
    uint64_t required;
    const char *words;
    const char *blank;
} lkpy_reader_t;

/* Read a message into *input by the first of the readers that takes it. Returns which one it was, from 0 on, or -1:
 * none of them did, and what is in *input means nothing. */
static int64_t lkpy_read(const lkpy_reader_t *readers, size_t reader_count, const char *data, size_t data_bytes,
                         int64_t now_ns, uint64_t sequence, char *input)
{
    lkpy_source_t source = {(const uint8_t *)data, (const uint8_t *)data + data_bytes};
    lk_input_t *made = (lk_input_t *)(void *)input;

    for (size_t i = 0; i < reader_count; i++) {
        memcpy(input, readers[i].blank, sizeof *made);
        made->now_ns = now_ns;
        made->sequence = sequence;
        if (lkpy_read_message(source, (const lkpy_row_t *)(const void *)readers[i].rows, readers[i].row_count,
                              readers[i].required, readers[i].words, made)) {
            return (int64_t)i;
        }
    }
    return -1;
}

#endif
